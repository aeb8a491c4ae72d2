"""A release in which every fold raises: a fault puts it on the path of one process."""

from __future__ import annotations

from typing import NoReturn

from crm_projections.model import Projection


def _raise(*_: object) -> NoReturn:
    raise ArithmeticError("this release cannot fold anything")


Projection.fold_one = _raise

"""Older versions of events, made into the present one when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from crm_events.errors import UnknownVersionError

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Pure: the data of one version in, that of the next one out.

It is called after opening; a personal field that nobody opened, or whose key was destroyed, is
absent.
"""

Upcasters = Mapping[tuple[str, int], Upcaster]
"""By wire type and the version that goes in. What is stored stays as it was written."""

UPCASTERS: Final[Upcasters] = MappingProxyType({})
"""Those of the published events."""


def upcast(
    data: dict[str, Any],
    *,
    type: str,  # noqa: A002  # the word of the wire
    version: int,
    to_version: int,
    upcasters: Upcasters,
) -> dict[str, Any]:
    """Return `data` as version `to_version` would have written it.

    Raises:
        UnknownVersionError: it is newer than that, or a step is missing.
    """
    if version > to_version:
        raise UnknownVersionError(type, version)
    for step in range(version, to_version):
        upcaster = upcasters.get((type, step))
        if upcaster is None:
            raise UnknownVersionError(type, version)
        data = upcaster(data)
    return data

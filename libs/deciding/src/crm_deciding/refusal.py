"""What a decider says when a command cannot be: no error, but an answer the caller can act on."""

from __future__ import annotations

import inspect
import re
from typing import Final

_BEFORE_A_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


class Refusal(Exception):  # noqa: N818  # subclasses state the fact: DealNotOpen
    """A decider's refusal. A subclass states a fact by its name and explains it by its docstring.

    `DealNotOpen` is answered as 409 with the type `urn:kith:problem:deal-not-open`.
    """

    @property
    def name(self) -> str:
        return _BEFORE_A_WORD.sub("-", type(self).__name__).lower()

    @property
    def detail(self) -> str:
        """What was raised with it, else what its class says about itself."""
        return str(self) or inspect.cleandoc(type(self).__doc__ or "").partition("\n")[0]

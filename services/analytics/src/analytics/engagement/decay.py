"""Forward decay in log space: sums of decaying weights that late facts keep exact.

A fact of weight w at instant t_i adds w * exp(rate * (t_i - landmark)), whenever it arrives; only
S = ln of that sum is kept. The value at t is exp(S - rate * (t - landmark)). S does not depend on
t, so neither does rank. Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay (ICDE 2009).

`None` stands for ln 0: there is nothing in the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

SECONDS_PER_DAY: Final = 86_400.0
LARGEST_EXPONENT: Final = 600.0
"""No score is exp(600). A value stays finite, also before the facts it is made of happened."""


@dataclass(frozen=True, slots=True)
class Decay:
    """Halves a weight every `half_life_seconds`. `landmark` is fixed for the life of a model."""

    landmark: datetime
    half_life_seconds: float

    @property
    def rate(self) -> float:
        """Per second: ln 2 / half-life."""
        return math.log(2.0) / self.half_life_seconds

    def shift(self, at: datetime) -> float:
        """What separates a logarithm from its value at `at`: rate * (at - landmark)."""
        return self.rate * (at - self.landmark).total_seconds()

    def value(self, s: float | None, at: datetime) -> float:
        """The value at `at` of a sum whose logarithm is `s`."""
        return 0.0 if s is None else math.exp(min(s - self.shift(at), LARGEST_EXPONENT))


def log_sum(terms: Sequence[float]) -> float | None:
    """The logarithm of the sum of exp(term), without overflow however far the terms lie apart."""
    if not terms:
        return None
    if len(terms) == 1:
        return terms[0]
    if len(terms) == 2:  # noqa: PLR2004  # the case that counts: a sum and one more fact
        one, other = terms
        larger, smaller = (one, other) if one > other else (other, one)
        return larger + math.log1p(math.exp(smaller - larger))
    largest = max(terms)
    return largest + math.log(math.fsum([math.exp(term - largest) for term in terms]))


def log_add(s: float | None, terms: Sequence[float]) -> float | None:
    """The logarithm of exp(s) plus the sum of exp(term)."""
    if not terms:
        return s
    return log_sum(terms) if s is None else log_sum([s, *terms])


def log_replace(s: float, old: float, new: float) -> float | None:
    """The logarithm of exp(s) - exp(old) + exp(new), where exp(old) is part of exp(s).

    Never the difference of two large sums: the change is put in relation to the whole, where it
    is no smaller than -1.
    """
    change = math.exp(min(old - s, 0.0)) * math.expm1(new - old)
    return None if change <= -1.0 else s + math.log1p(change)


def log_net(s: float | None, s_negative: float | None) -> float | None:
    """The logarithm of exp(s) - exp(s_negative); None where that is not above 0.

    Like each of the two it does not depend on the instant, so it ranks for good.
    """
    if s is None or s_negative is None:
        return s
    if s_negative >= s:
        return None
    return s + math.log(-math.expm1(s_negative - s))

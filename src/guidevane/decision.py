"""From a score to a decision: calibrate, compare, name; and what is decided where there is no score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guidevane.errors import Misconfigured
from guidevane.word import Mistake, nearest, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Scores: TypeAlias = NDArray[np.float64]


@runtime_checkable
class Calibration(Protocol):
    """Turn scores into probabilities: float64[n] to float64[n], each for itself, rising, NaN to NaN."""

    def __call__(self, scores: Scores, /) -> Scores:
        """Return one probability a score."""
        ...


@word
class Isotonic:
    """Straight lines between fitted points (Zadrozny and Elkan, 2002); flat beyond the first and the last.

    >>> Isotonic(x=(0.2, 0.6), y=(0.1, 0.9))(np.array([0.0, 0.4, 1.0])).round(6).tolist()
    [0.1, 0.5, 0.9]
    """

    x: Annotated[tuple[float, ...], Field(min_length=1)]
    y: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)]

    def __call__(self, scores: Scores, /) -> Scores:
        """Return float64[n]."""
        return np.asarray(np.interp(scores, self.x, self.y), dtype=np.float64)

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of points that draw no rising line."""
        if len(self.x) != len(self.y):
            yield Mistake("y", f"has {len(self.y)} values for {len(self.x)} of x", "one y an x")
        if any(b <= a for a, b in zip(self.x, self.x[1:], strict=False)):
            yield Mistake("x", "does not rise", "sort the points, one y an x")
        if any(b < a for a, b in zip(self.y, self.y[1:], strict=False)):
            yield Mistake("y", "falls somewhere", "fit it with isotonic regression")


@word
class Platt:
    """``sigmoid(a · logit(score) + b)``: Platt's scaling (1999) of scores that are probabilities already.

    >>> Platt(a=1.0, b=0.0)(np.array([0.25])).round(6).tolist()
    [0.25]
    """

    a: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    b: Annotated[float, Field(allow_inf_nan=False)]

    def __call__(self, scores: Scores, /) -> Scores:
        """Return float64[n]."""
        bounded = np.clip(np.ascontiguousarray(scores), 1e-12, 1 - 1e-12)
        logit = np.log(bounded) - np.log1p(-bounded)
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-(self.a * logit + self.b))))


def calibration(document: Mapping[str, Any]) -> Isotonic | Platt:
    """Build the calibration that a JSON document holds. Raises ``Misconfigured`` where it holds none.

    >>> calibration({"kind": "platt", "a": 1.1, "b": -0.2})
    Platt(a=1.1, b=-0.2)
    """
    kinds: dict[str, type[Isotonic | Platt]] = {"isotonic": Isotonic, "platt": Platt}
    given = dict(document)
    kind = str(given.pop("kind", ""))
    if kind not in kinds:
        raise Misconfigured(f"there is no calibration of kind '{kind}' → {nearest(kind, tuple(kinds))}")
    return kinds[kind](**given)


@word
class Threshold:
    """Decide ``positive`` where the calibrated probability reaches ``at``.

    ``fallback`` is the answer where there is no score, the negative one by default; it may be a third one, such as
    ``"review"``. ``precision`` rounds scores to so many decimals before anything else is done with them, for
    members too large for tiles, whose last bits depend on the batch.

    >>> rule = Threshold(0.5, positive="hire", negative="wait", fallback="ask")
    >>> probability, positive = rule.decide(np.array([0.5, 0.4, np.nan]))
    >>> probability.tolist(), positive.tolist(), rule.labels(probability)
    ([0.5, 0.4, nan], [True, False, False], ['hire', 'wait', 'ask'])
    """

    at: Annotated[float, Field(ge=0, le=1)] = 0.5
    positive: Annotated[str, Field(min_length=1)] = "positive"
    negative: Annotated[str, Field(min_length=1)] = "negative"
    calibrate: Calibration | None = None
    fallback: Annotated[str, Field(min_length=1)] | None = None
    precision: Annotated[int, Field(ge=1, le=15)] | None = None

    @property
    def otherwise(self) -> str:
        """The answer where there is no score."""
        return self.fallback or self.negative

    def decide(self, scores: Scores) -> tuple[Scores, NDArray[np.bool_]]:
        """Return float64[n] probabilities and bool[n], true where the answer is ``positive``.

        A score of NaN keeps probability NaN and gets the fallback.
        """
        rounded = scores if self.precision is None else np.round(scores, self.precision)
        probability = np.asarray(rounded if self.calibrate is None else self.calibrate(rounded), dtype=np.float64)
        missing = np.isnan(probability)
        return probability, np.where(missing, self.otherwise == self.positive, probability >= self.at)

    def labels(self, probability: Scores) -> Sequence[str]:
        """Return the answer that each probability of ``decide`` gets."""
        return [
            self.otherwise if value != value else self.positive if value >= self.at else self.negative  # noqa: PLR0124
            for value in probability.tolist()
        ]

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of two answers with one name."""
        if self.positive == self.negative:
            yield Mistake("negative", f"is '{self.negative}', as positive is", "give each answer its own name")

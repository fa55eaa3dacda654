"""How several members' answers become one score.

Scores are probabilities, 0 to 1. Combiners go through the members one by one and never across
events, so an event's score is the same to the byte however its batch was cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guidevane.errors import Misconfigured
from guidevane.word import Mistake, word

if TYPE_CHECKING:
    from collections.abc import Iterator

Scores: TypeAlias = NDArray[np.float64]
Present: TypeAlias = NDArray[np.bool_]
Weights: TypeAlias = tuple[float, ...] | dict[str, float]

_CERTAIN = 1e-12


@runtime_checkable
class Combiner(Protocol):
    """Make one score of several.

    ``scores`` is float64[m, n] in the order of the members, ``present`` bool[m, n]; where it is
    false the score beside it means nothing. Returned is float64[n], NaN where no member is present.
    """

    def __call__(self, scores: Scores, present: Present, /) -> Scores:
        """Return one score an event."""
        ...


@word
class WeightedMean:
    """The mean of the scores by weight, equal by default; with ``logit``, of their logits (the geometric opinion pool).

    Of the weights, those of absent members are left out and the others scaled to sum to 1.

    >>> mean = WeightedMean((3, 1))
    >>> mean(np.array([[0.8, 0.8], [0.4, 0.4]]), np.array([[True, False], [True, True]])).round(6).tolist()
    [0.7, 0.4]
    """

    weights: Weights | None = None
    logit: bool = False

    def __call__(self, scores: Scores, present: Present, /) -> Scores:
        """Return float64[n]; NaN where the members present have no weight."""
        total = np.zeros(scores.shape[1])
        weight = np.zeros(scores.shape[1])
        for share, score, here in zip(_in_order(self.weights, len(scores)), scores, present, strict=True):
            value = _logit(score, here) if self.logit else np.where(here, score, 0.0)
            total += share * value
            weight += share * here
        mean: Scores = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
        return _sigmoid(mean) if self.logit else mean

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of weights that make no mean."""
        if self.weights is not None:
            values = tuple(self.weights.values()) if isinstance(self.weights, dict) else self.weights
            if any(not 0 <= value < np.inf for value in values):
                yield Mistake("weights", "has a negative or infinite weight", "write weights of 0 or more")
            elif not sum(values) > 0:
                yield Mistake("weights", "sums to 0", "give at least one member weight")


@word
class Vote:
    """The share of the members present whose score reaches ``threshold``.

    >>> Vote(0.5)(np.array([[0.9], [0.2], [0.5]]), np.array([[True], [True], [False]])).tolist()
    [0.5]
    """

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5

    def __call__(self, scores: Scores, present: Present, /) -> Scores:
        """Return float64[n]."""
        voices = present.sum(axis=0)
        ayes = ((scores >= self.threshold) & present).sum(axis=0)
        share: Scores = np.divide(ayes, voices, out=np.full(len(voices), np.nan), where=voices > 0)
        return share


@word
class Stacking:
    """Logistic regression over the members' logits: ``sigmoid(bias + Σ weight · logit(score))`` (Wolpert, 1992).

    The weight of absent members is shared equally among those present, so that a missing
    voice neither pulls the score towards 0.5 nor makes the others surer than they are.

    >>> Stacking((1.0, 1.0), bias=0.0)(np.array([[0.5], [0.9]]), np.array([[True], [True]])).round(6).tolist()
    [0.9]
    """

    weights: Weights
    bias: float = 0.0

    def __call__(self, scores: Scores, present: Present, /) -> Scores:
        """Return float64[n]."""
        size = scores.shape[1]
        total, plain, absent, voices = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
        for weight, score, here in zip(_in_order(self.weights, len(scores)), scores, present, strict=True):
            value = _logit(score, here)
            total += weight * value
            plain += value
            absent += weight * ~here
            voices += here
        share = np.divide(absent, voices, out=np.full(size, np.nan), where=voices > 0)
        return _sigmoid(self.bias + total + share * plain)

    def mistakes(self) -> Iterator[Mistake]:
        """Tell of weights that are no numbers."""
        values = tuple(self.weights.values()) if isinstance(self.weights, dict) else self.weights
        if not np.isfinite([*values, self.bias]).all():
            yield Mistake("weights", "are not all finite, or the bias is not", "write what was fitted")


def _in_order(weights: Weights | None, members: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * members
    if isinstance(weights, dict):
        raise Misconfigured("weights by name mean something only within an Ensemble → call Ensemble.join")
    return weights


def _logit(score: Scores, here: Present) -> Scores:
    # Certainty has no logit; the clip keeps one overconfident member from deciding alone for ever.
    bounded = np.clip(np.where(here, score, 0.5), _CERTAIN, 1 - _CERTAIN)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


def _sigmoid(logit: Scores) -> Scores:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))

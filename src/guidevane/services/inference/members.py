"""What the inference room asks of its members, wherever they run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from guidevane.errors import GuidevaneError, Retryable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]
# A softmax of 32 bits may sum to a little more than 1.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member said of a batch: float64[n] scores, its version, and how long it computed.

    ``batch`` is how many rows it computed in that time, 0 where they are these; where they were more, all but one of
    the answers ``rode_along``, so that the time is counted once.
    """

    scores: Scores
    version: str
    busy_s: float
    batch: int = 0
    rode_along: bool = False

    @property
    def computed(self) -> int:
        """How many rows were computed."""
        return self.batch or len(self.scores)


def probable(scores: Scores) -> NDArray[np.bool_]:
    """Tell which scores are probabilities, as the combiners take them.

    >>> probable(np.array([0.0, 1.0000001, -0.5, 3.2, np.nan, np.inf])).tolist()
    [True, True, False, False, False, False]
    """
    return (scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)


class MemberFailed(GuidevaneError):
    """The member's own code raised on these rows; asking again with the same rows would raise again."""


class MemberDied(Retryable):
    """The process that was asked ended before it answered: by a fault around it, or because of what it was asked."""


class Members(Protocol):
    """The members of an ensemble, ready to be asked. Asking is idempotent."""

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the member's answer for float32[n, d].

        Raises ``MemberFailed``, ``MemberDied``, or ``Retryable`` where it is away.
        """
        ...


class Judge(Protocol):
    """Asks a copy of a member that nobody depends on, one row at a time."""

    async def culprits(self, member: str, matrix: Vectors) -> Mapping[int, Blame]:
        """Return the rows of float32[n, d] that end or hang the copy. Raises ``Retryable`` where none can be had."""
        ...


class Blame(NamedTuple):
    """Why a member has no score for one row: ``cause`` is a dead letter's, ``says`` names the member."""

    cause: str
    says: str


@dataclass(frozen=True, slots=True)
class Isolated:
    """An answer some of whose rows the member could not stand: NaN there, with the reason."""

    answer: Answer | None
    reasons: dict[int, Blame]


async def ask_isolating(members: Members, member: str, matrix: Vectors) -> Isolated:
    """Ask; where the member's code raises, halve the batch until the rows that break it stand alone."""
    try:
        return Isolated(await members.ask(member, matrix), {})
    except MemberFailed as failed:
        return await isolate(members, member, matrix, failed)


async def isolate(members: Members, member: str, matrix: Vectors, failed: MemberFailed) -> Isolated:
    """Halve a batch that the member's code raised on until the rows that break it stand alone."""
    rows = len(matrix)
    if rows == 1:
        return Isolated(None, {0: Blame("model_failed", str(failed))})
    middle = rows // 2
    left, right = await asyncio.gather(
        ask_isolating(members, member, matrix[:middle]), ask_isolating(members, member, matrix[middle:])
    )
    reasons = left.reasons | {row + middle: why for row, why in right.reasons.items()}
    return Isolated(spread([(range(middle), left.answer), (range(middle, rows), right.answer)], rows), reasons)


def spread(parts: Sequence[tuple[Sequence[int], Answer | None]], rows: int) -> Answer | None:
    """Return one answer for all rows of several for some each; NaN where none is, ``None`` where none is anywhere."""
    answers = [(places, answer) for places, answer in parts if answer is not None]
    if not answers:
        return None
    scores = np.full(rows, np.nan)
    for places, answer in answers:
        scores[places] = answer.scores
    return Answer(scores, answers[0][1].version, sum(answer.busy_s for _, answer in answers))

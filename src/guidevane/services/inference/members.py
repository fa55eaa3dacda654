"""What the inference room asks of its members, wherever they run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from guidevane.errors import GuidevaneError

if TYPE_CHECKING:
    from collections.abc import Sequence

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member said of a batch: float64[n] scores, its version, and how long it computed."""

    scores: Scores
    version: str
    busy_s: float


class MemberFailed(GuidevaneError):
    """The member's own code raised on these rows; asking again with the same rows would raise again."""


class Members(Protocol):
    """The members of an ensemble, ready to be asked. Asking is idempotent."""

    async def ask(self, member: str, matrix: Vectors) -> Answer:
        """Return the member's answer for float32[n, d]. Raises ``MemberFailed``, or ``Retryable`` where it is away."""
        ...


@dataclass(frozen=True, slots=True)
class Isolated:
    """An answer some of whose rows the member's code could not stand: NaN there, with the reason."""

    answer: Answer | None
    reasons: dict[int, str]


async def ask_isolating(members: Members, member: str, matrix: Vectors) -> Isolated:
    """Ask; where the member's code raises, halve the batch until the rows that break it stand alone."""
    try:
        return Isolated(await members.ask(member, matrix), {})
    except MemberFailed as failed:
        if len(matrix) == 1:
            return Isolated(None, {0: str(failed)})
    middle = len(matrix) // 2
    left, right = await asyncio.gather(
        ask_isolating(members, member, matrix[:middle]), ask_isolating(members, member, matrix[middle:])
    )
    return _joined(left, right, middle, len(matrix))


def _joined(left: Isolated, right: Isolated, middle: int, rows: int) -> Isolated:
    answers: Sequence[Answer] = [each.answer for each in (left, right) if each.answer is not None]
    reasons = left.reasons | {row + middle: says for row, says in right.reasons.items()}
    if not answers:
        return Isolated(None, reasons)
    scores = np.full(rows, np.nan)
    if left.answer is not None:
        scores[:middle] = left.answer.scores
    if right.answer is not None:
        scores[middle:] = right.answer.scores
    return Isolated(Answer(scores, answers[0].version, sum(a.busy_s for a in answers)), reasons)

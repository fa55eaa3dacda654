"""What is written of a batch: a prediction for each event, from what its members said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Reject
from guidevane.pieces import NULL, SOME, doubles, optional, texts
from guidevane.services.inference.waiting import Waiting
from guidevane.services.passing import OUTCOMES, STATUSES, Writes, answers
from guidevane.writer import SIZES, long

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from guidevane.codec import Codec
    from guidevane.ensemble import Ensemble
    from guidevane.events import Features, MemberScore, MemberStatus, OutcomeKind, Prediction
    from guidevane.log import Record
    from guidevane.pieces import Column, Parts
    from guidevane.runtime.stage import Result
    from guidevane.services.inference.members import Blame
    from guidevane.services.passing import Drawn, Scored


@dataclass(slots=True, eq=False)
class Row(Waiting):
    """One event on its way to the members: as it came, as it was read, and when it was fetched."""

    record: Record
    event: Drawn
    fetched_s: float


@dataclass(slots=True)
class Said:
    """One member's part in a batch: float64[n] scores (NaN where there is none), and why.

    ``to_blame`` says that the rows in ``reasons`` broke it, and not that it is broken anyway. It computed for
    ``busy_s``, on so many ``computed`` rows.
    """

    scores: NDArray[np.float64]
    version: str
    status: MemberStatus
    latency_us: int
    reasons: Mapping[int, Blame]
    to_blame: bool
    busy_s: float = 0.0
    computed: int = 0


def skipped(rows: int) -> Said:
    """Return the part of a member that was not asked."""
    return Said(np.full(rows, np.nan), "", "skipped", 0, {}, to_blame=False)


class Predicting:
    """Writes predictions."""

    def __init__(self, ensemble: Ensemble, codec: Codec) -> None:
        self.ensemble = ensemble
        self._write = Writes(codec, "prediction")

    def batch(
        self, rows: Sequence[Row], said: Mapping[str, Said], *, variant: str | None, sent_s: float
    ) -> list[Result]:
        """Return one prediction a row, or why no decision may rest on it; by one member alone where it is the variant.

        ``sent_s`` is when the batch left for the members.
        """
        if variant is not None:
            combined = said[variant].scores
            voices = [0] * len(rows)
        else:
            scores = np.stack([said[name].scores for name in self.ensemble.names])
            present = np.isfinite(scores)
            combined = self.ensemble.join(scores, present)
            voices = present.sum(axis=0).tolist()
        everybody = len(self.ensemble.names)
        scored = (~np.isnan(combined)).tolist()
        outcomes: list[OutcomeKind] = [
            "fallback" if not there else "full" if count == everybody else "degraded"
            for there, count in zip(scored, voices, strict=True)
        ]
        results = self._messages(rows, combined, outcomes, said, len(rows), sent_s)
        for place in {place for each in said.values() for place in each.reasons}:
            results[place] = self._poison(place, rows[place].event, said) or results[place]
        return results

    def without(self, rows: Sequence[Row], outcome: OutcomeKind, now_s: float) -> list[Result]:
        """Return the predictions of events that go without: nobody is asked."""
        said = dict.fromkeys(self.ensemble.names, skipped(len(rows)))
        return self._messages(rows, np.full(len(rows), np.nan), [outcome] * len(rows), said, 0, now_s)

    def _messages(
        self,
        rows: Sequence[Row],
        scores: NDArray[np.float64],
        outcomes: Sequence[OutcomeKind],
        said: Mapping[str, Said],
        batch_size: int,
        sent_s: float,
    ) -> list[Result]:
        events = [row.event for row in rows]
        given: list[float | None] = [score if score == score else None for score in scores.tolist()]  # noqa: PLR0124
        queued_us = [int((sent_s - row.fetched_s) * 1e6) for row in rows]

        def columns(named: list[bytes], due: list[bytes], protected: list[bytes]) -> Mapping[str, Column | Parts]:
            return {
                "event_id": named,
                "event_time_us": b"",
                "deadline_us": due,
                "score": optional([score is not None for score in given], doubles(scores)),
                "outcome": [OUTCOMES[outcome] for outcome in outcomes],
                "members": (SIZES[len(said)], *(part for each in said.items() for part in _spoken(*each)), b"\x00"),
                "batch_size": long(batch_size),
                "queued_us": [long(each) for each in queued_us],
                "protected": protected,
            }

        def bodies() -> list[Prediction]:
            return [
                {
                    "event_id": event["event_id"],
                    "event_time_us": event["event_time_us"],
                    "deadline_us": event["deadline_us"],
                    "score": score,
                    "outcome": outcome,
                    "members": members,
                    "batch_size": batch_size,
                    "queued_us": queued,
                    "protected": event["protected"],
                }
                for event, score, outcome, members, queued in zip(
                    events, given, outcomes, _by_row(said, len(rows)), queued_us, strict=True
                )
            ]

        values = self._write(events, columns, bodies)
        scored: list[Scored] = [
            {
                "event_id": event["event_id"],
                "event_time_us": event["event_time_us"],
                "deadline_us": event["deadline_us"],
                "score": score,
                "outcome": outcome,
                "models": models,
                "protected": event["protected"],
                "envelope": event.get("envelope"),
            }
            for event, score, outcome, models in zip(events, given, outcomes, _models(said, len(rows)), strict=True)
        ]
        return [*answers([row.record for row in rows], events, values, scored)]

    def _poison(self, row: int, event: Features, said: Mapping[str, Said]) -> Reject | None:
        """Return why no decision may rest on this row: it breaks a member that is well, or all that were asked."""
        asked = [each for each in said.values() if each.status != "skipped"]
        blamed = [(each.reasons[row], each.to_blame) for each in asked if row in each.reasons]
        guilty = [why for why, to_blame in blamed if to_blame]
        if not blamed or (len(blamed) < len(asked) and (self.ensemble.poison == "degrade" or not guilty)):
            return None
        # What ends or hangs a member is worse than what it refuses, and names the letter.
        worst = min(guilty or [why for why, _ in blamed], key=lambda why: why.cause == "model_failed")
        causes = "; ".join(why.says for why, _ in blamed)
        return Reject(worst.cause, f"event {event['event_id']}: {causes}")


def _otherwise(said: Said) -> MemberStatus:
    """Return what a member is for the rows without a score: who answered, but not for this row, has failed on it."""
    return "failed" if said.status == "ok" else said.status


def _spoken(name: str, said: Said) -> Parts:
    """Return the columns of one member's part in ``members``."""
    head = b"".join(texts([name, said.version]))
    latency = long(said.latency_us)
    yes, no = STATUSES[said.status] + latency, NULL + STATUSES[_otherwise(said)] + latency
    there = np.isfinite(said.scores)
    if there.all():
        return head + SOME, doubles(said.scores), yes
    if not there.any():
        return (head + no,)
    scores = zip(there.tolist(), doubles(said.scores), strict=True)
    return head, [SOME + score + yes if finite else no for finite, score in scores]


def _models(said: Mapping[str, Said], rows: int) -> list[dict[str, str]]:
    """Return the versions of the members that answered, row by row; who had the same answers shares one."""
    spoke = [(np.isfinite(each.scores) & (each.status == "ok")).tolist() for each in said.values()]
    known: dict[tuple[bool, ...], dict[str, str]] = {
        pattern: {name: each.version for (name, each), spoken in zip(said.items(), pattern, strict=True) if spoken}
        for pattern in set(zip(*spoke, strict=True))
    }
    return [known[pattern] for pattern in zip(*spoke, strict=True)] if spoke else [{}] * rows


def _by_row(said: Mapping[str, Said], rows: int) -> list[list[MemberScore]]:
    """Return what each member said, row by row."""
    found: list[list[MemberScore]] = [[] for _ in range(rows)]
    for name, each in said.items():
        version, latency_us, status = each.version, each.latency_us, each.status
        otherwise = _otherwise(each)
        for parts, value in zip(found, each.scores.tolist(), strict=True):
            there = value - value == 0.0
            parts.append(
                {
                    "name": name,
                    "version": version,
                    "score": value if there else None,
                    "status": status if there else otherwise,
                    "latency_us": latency_us,
                }
            )
    return found

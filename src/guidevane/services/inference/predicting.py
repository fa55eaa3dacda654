"""What is written of a batch: a prediction for each event, from what its members said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guidevane.errors import Reject
from guidevane.log import Message, Record
from guidevane.services.inference.triage import Waiting
from guidevane.services.passing import EVENT_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from guidevane.codec import Codec
    from guidevane.ensemble import Ensemble
    from guidevane.events import Features, MemberScore, MemberStatus, OutcomeKind, Prediction
    from guidevane.runtime.stage import Result
    from guidevane.services.inference.members import Blame


@dataclass(slots=True, eq=False)
class Row(Waiting):
    """One event on its way to the members: as it came, as it was read, and when it was fetched."""

    record: Record
    event: Features
    fetched_s: float


@dataclass(slots=True)
class Said:
    """One member's part in a batch: float64[n] scores (NaN where there is none), and why.

    ``to_blame`` says that the rows in ``reasons`` broke it, and not that it is broken anyway.
    """

    scores: NDArray[np.float64]
    version: str
    status: MemberStatus
    latency_us: int
    reasons: Mapping[int, Blame]
    to_blame: bool
    busy_s: float = 0.0


def skipped(rows: int) -> Said:
    """Return the part of a member that was not asked."""
    return Said(np.full(rows, np.nan), "", "skipped", 0, {}, to_blame=False)


class Predicting:
    """Writes predictions."""

    def __init__(self, ensemble: Ensemble, codec: Codec) -> None:
        self.ensemble = ensemble
        self._encode = codec.encoder("prediction")

    def batch(
        self, rows: Sequence[Row], said: Mapping[str, Said], *, variant: str | None, sent_s: float
    ) -> list[Result]:
        """Return one prediction a row, or why no decision may rest on it; by one member alone where it is the variant.

        ``sent_s`` is when the batch left for the members.
        """
        if variant is not None:
            combined = said[variant].scores.tolist()
            voices = [0] * len(rows)
        else:
            scores = np.stack([said[name].scores for name in self.ensemble.names])
            present = np.isfinite(scores)
            combined = self.ensemble.join(scores, present).tolist()
            voices = present.sum(axis=0).tolist()
        members = _by_row(said, len(rows))
        everybody, size = len(self.ensemble.names), len(rows)
        results: list[Result] = []
        for row, score, count, parts in zip(rows, combined, voices, members, strict=True):
            scored = score == score  # noqa: PLR0124 - NaN is the only number that differs from itself
            outcome: OutcomeKind = "fallback" if not scored else "full" if count == everybody else "degraded"
            results.append(self._message(row, score if scored else None, outcome, parts, size, sent_s))
        for place in {place for each in said.values() for place in each.reasons}:
            results[place] = self._poison(place, rows[place].event, said) or results[place]
        return results

    def alone(self, row: Row, outcome: OutcomeKind, now_s: float) -> Result:
        """Return the prediction of an event that goes without: nobody is asked."""
        (parts,) = _by_row(dict.fromkeys(self.ensemble.names, skipped(1)), 1)
        return self._message(row, None, outcome, parts, 0, now_s)

    def _message(
        self,
        row: Row,
        score: float | None,
        outcome: OutcomeKind,
        members: list[MemberScore],
        batch_size: int,
        sent_s: float,
    ) -> Message:
        event = row.event
        prediction: Prediction = {
            "event_id": event["event_id"],
            "event_time_us": event["event_time_us"],
            "deadline_us": event["deadline_us"],
            "score": score,
            "outcome": outcome,
            "members": members,
            "batch_size": batch_size,
            "queued_us": int((sent_s - row.fetched_s) * 1e6),
            "protected": event["protected"],
        }
        named = (EVENT_ID, event["event_id"].encode())
        return Message(row.record.key, self._encode(prediction), (named,), prediction)

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


def _by_row(said: Mapping[str, Said], rows: int) -> list[list[MemberScore]]:
    """Return what each member said, row by row."""
    found: list[list[MemberScore]] = [[] for _ in range(rows)]
    for name, each in said.items():
        version, latency_us, status = each.version, each.latency_us, each.status
        # Who answered, but not for this row, has failed on it.
        otherwise: MemberStatus = "failed" if status == "ok" else status
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

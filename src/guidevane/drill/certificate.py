"""The certificate: what was tried, and what came of it; for people as Markdown, for programs as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from guidevane.ledger import Oracle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.drill.run import Result
    from guidevane.drill.trial import Trial

_FINDINGS_SHOWN = 20
_COLUMNS = (
    "fault", "events", "lost", "twice", "conflicting", "order", "repeats", "dead letters", "degraded", "fallback",
    "recovery s", "promised s", "verdict",
)  # fmt: skip
_HOW_TO_READ = (
    "How to read it: `docs/operations/drill.md`. Not shown by any of this: the power loss of a single "
    "unreplicated broker, and sinks that are not idempotent."
)


@dataclass(frozen=True, slots=True)
class Recoveries:
    """How long one fault's recoveries took, of the ``times`` that it was tried; ``None`` is never.

    Percentiles are by nearest rank: of fewer than a hundred, ``p99_s`` is the longest.
    """

    name: str
    mode: str
    times: int
    kept: int
    late: int
    p50_s: float | None
    p99_s: float | None
    most_s: float | None
    within_s: float

    @classmethod
    def of(cls, mode: str, trials: Sequence[Trial]) -> Recoveries:
        """Return those of trials of one fault."""
        took_s = sorted(
            math.inf if trial.recovery is None or trial.recovery.seconds is None else trial.recovery.seconds
            for trial in trials
        )

        def ranked(share: float) -> float | None:
            found = took_s[math.ceil(share * len(took_s)) - 1]
            return found if found < math.inf else None

        fault = trials[0].fault
        kept, late = (sum(trial.ok and trial.in_time is in_time for trial in trials) for in_time in (True, False))
        p50_s, p99_s, most_s = (ranked(share) for share in (0.5, 0.99, 1.0))
        return cls(fault.name, mode, len(trials), kept, late, p50_s, p99_s, most_s, fault.within_s)


def _recoveries(result: Result) -> list[Recoveries]:
    """Return them by fault, where faults were tried more than once."""
    by_name: dict[str, list[Trial]] = {}
    for trial in result.trials:
        if not trial.skipped:
            by_name.setdefault(trial.fault.name, []).append(trial)
    return [Recoveries.of(result.drill.mode, each) for each in by_name.values()] if result.drill.times > 1 else []


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return one object for each fault that was tried, in order."""
    return {
        "ok": all(result.ok for result in results),
        "machine": results[0].machine if results else "",
        "runs": [
            {
                "mode": result.drill.mode, "pipeline": result.drill.pipeline, "rooms": result.drill.rooms,
                "rate_per_s": result.drill.rate_per_s, "seed": result.drill.seed, "times": result.drill.times,
                "seconds": result.seconds,
            }
            for result in results
        ],
        "faults": [_row(result, trial) for result in results for trial in result.trials if not trial.skipped],
        "recoveries": [asdict(each) for result in results for each in _recoveries(result)],
        "skipped": [
            {"name": trial.fault.name, "mode": result.drill.mode, "why": trial.skipped}
            for result in results
            for trial in result.trials
            if trial.skipped
        ],
    }  # fmt: skip


def _row(result: Result, trial: Trial) -> dict[str, Any]:
    verdict, found = trial.verdict, trial.recovery
    return {
        "name": trial.fault.name,
        "mode": result.drill.mode,
        "events": verdict.events if verdict is not None else 0,
        "lost": trial.count(Oracle.LOST),
        "conflicting": trial.count(Oracle.CONFLICT),
        "order_violations": trial.count(Oracle.ORDER),
        "recovery_s": found.seconds if found is not None else None,
        "within_s": trial.fault.within_s,
        "in_time": trial.in_time,
        "twice": trial.count(Oracle.TWICE),
        "repeats": verdict.repeats if verdict is not None else 0,
        "commits_back": verdict.commits_back if verdict is not None else 0,
        "dead_letters": verdict.dead_letters if verdict is not None else 0,
        "degraded": trial.degraded,
        "fallback": trial.fallback,
        "unwell": found.unwell if found is not None else None,
        "ok": trial.ok,
        "findings": verdict.counts() if verdict is not None else {},
        "complaints": list(trial.complaints),
    }


def as_markdown(results: Sequence[Result]) -> str:
    """Return the certificate as a page."""
    lines = ["# Certificate of delivery under fire", ""]
    for result in results:
        lines += _run(result)
    return "\n".join([*lines, "", _HOW_TO_READ, ""])


def _run(result: Result) -> list[str]:
    drill = result.drill
    tried = [trial for trial in result.trials if not trial.skipped]
    good = sum(trial.ok for trial in tried)
    load = f"`{drill.pipeline}` at {drill.rate_per_s:g} events/s, seed {drill.seed}"
    lines = [
        f"## Mode {drill.mode}, rooms {drill.rooms}: {good} of {len(tried)} faults survived",
        "",
        f"Pipeline {load}, {result.machine}, {result.seconds:.0f} s.",
        "",
        *_varied(_recoveries(result)),
        "| " + " | ".join(_COLUMNS) + " |",
        "|---|" + "--:|" * (len(_COLUMNS) - 2) + "---|",
        *(_line(trial) for trial in tried),
        "",
        *(f"* `{each.fault.name}` was not tried: {each.skipped}" for each in result.trials if each.skipped),
        *(line for each in tried for line in _forgotten(each)),
    ]
    for trial in tried:
        if not trial.ok:
            lines += [f"### {trial.fault.name}: {trial.fault.does}", "", *_wrong(trial), ""]
    return lines


def _varied(found: Sequence[Recoveries]) -> list[str]:
    if not found:
        return []
    return [
        "| fault | times | kept | late | p50 s | p99 s | most s | promised s |",
        "|---|" + "--:|" * 7,
        *(
            f"| {each.name} | {each.times} | {each.kept} | {each.late} | {_told_s(each.p50_s)} | {_told_s(each.p99_s)} "
            f"| {_told_s(each.most_s)} | {each.within_s:.0f} |"
            for each in found
        ),
        "",
    ]


def _told_s(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"


def _forgotten(trial: Trial) -> list[str]:
    times = trial.verdict.commits_back if trial.verdict is not None else 0
    if not times or not trial.fault.places_forgotten:
        return []
    return [f"* `{trial.fault.name}`: the broker told {times} times of an older commit than before, and is excused"]


def _line(trial: Trial) -> str:
    verdict, found = trial.verdict, trial.recovery
    seconds = found.seconds if found is not None else None
    cells = [
        trial.fault.name,
        f"{verdict.events:,}" if verdict is not None else "0",
        *(str(trial.count(oracle)) for oracle in (Oracle.LOST, Oracle.TWICE, Oracle.CONFLICT, Oracle.ORDER)),
        str(verdict.repeats) if verdict is not None else "0",
        str(verdict.dead_letters) if verdict is not None else "0",
        str(trial.degraded),
        str(trial.fallback),
        _told_s(seconds),
        f"{trial.fault.within_s:.0f}",
        trial.word,
    ]
    return "| " + " | ".join(cells) + " |"


def _wrong(trial: Trial) -> list[str]:
    lines = [f"* {each}" for each in trial.complaints]
    if trial.recovery is None or trial.recovery.seconds is None:
        lines.append(f"* it did not become well again: {trial.fault.recovered}")
    findings = trial.verdict.findings if trial.verdict is not None else ()
    lines += [f"* {each.oracle}: `{each.event_id}` {each.says}" for each in findings[:_FINDINGS_SHOWN]]
    if len(findings) > _FINDINGS_SHOWN:
        lines.append(f"* and {len(findings) - _FINDINGS_SHOWN} more")
    return lines

"""Getting one answer a record out of a handler, whatever the handler does.

A ``Retryable`` is tried again in place, with jitter, for as long as the stage is patient; after that, and at
once for anything unforeseen, which is a bug, the batch is halved until the record that causes it stands alone.
That record becomes a dead letter, its innocents are delivered (at most ``2 log2 n`` calls more a culprit).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from guidevane.errors import Fenced, Misconfigured, Reject, Retryable
from guidevane.runtime.retry import Backoff
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.clock import Clock
    from guidevane.log import Record
    from guidevane.runtime.stage import Result, Stage
    from guidevane.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


async def answers(
    stage: Stage,
    records: Sequence[Record],
    *,
    clock: Clock,
    metrics: Metrics,
    backoff: Backoff | None = None,
    give_up_at_s: float | None = None,
) -> list[Result]:
    """Return one result a record, in order; never fewer, never more.

    ``give_up_at_s`` is by when nothing is tried again, in monotonic seconds; by default as long from now as the
    stage is patient.
    """
    if not records:
        return []
    if give_up_at_s is None:
        give_up_at_s = clock.monotonic_s() + stage.patience_s
    try:
        results = await _patiently(stage, records, clock, metrics, backoff or Backoff(), give_up_at_s)
    except (Misconfigured, Fenced):
        raise
    except Reject as reject:
        why = reject
    except Exception as bug:  # noqa: BLE001 - the last resort between a bug and a lost event
        why = Reject("bug", f"{type(bug).__name__}: {bug}")
        if len(records) == 1:
            _log.warning("a bug in %s: %r", stage.name, bug, exc_info=bug)
    else:
        if len(results) != len(records):
            raise Misconfigured(f"{stage.name} gave {len(results)} results for {len(records)} records")
        return results
    if len(records) == 1:
        return [why]
    metrics.count(names.BISECTIONS_TOTAL)
    middle = len(records) // 2
    left, right = [
        await answers(stage, half, clock=clock, metrics=metrics, give_up_at_s=give_up_at_s)
        for half in (records[:middle], records[middle:])
    ]
    return left + right


async def _patiently(
    stage: Stage, records: Sequence[Record], clock: Clock, metrics: Metrics, backoff: Backoff, give_up_at_s: float
) -> list[Result]:
    attempt = 0
    while True:
        try:
            return list(await stage.handle(records))
        except Retryable as not_yet:
            delay_s = backoff.delay_s(attempt)
            if clock.monotonic_s() + delay_s > give_up_at_s:
                raise Reject("retries_exhausted", f"{not_yet}, for {stage.patience_s} s") from not_yet
        metrics.count(names.RETRIES_TOTAL, stage=stage.name)
        await asyncio.sleep(delay_s)
        attempt += 1

"""Getting one answer a record out of a handler, whatever the handler does.

A ``Retryable`` is tried again in place, with jitter, for as long as the stage is patient. Anything
unforeseen is a bug: the batch is halved until the record that causes it stands alone, that record
becomes a dead letter, and its innocents are delivered (at most ``2 log2 n`` calls more a culprit).
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
    stage: Stage, records: Sequence[Record], *, clock: Clock, metrics: Metrics, backoff: Backoff | None = None
) -> list[Result]:
    """Return one result a record, in order; never fewer, never more."""
    if not records:
        return []
    waits = backoff or Backoff()
    give_up_at = clock.monotonic_s() + stage.patience_s
    for attempt in range(1_000_000):
        try:
            results = list(await stage.handle(records))
        except (Misconfigured, Fenced, asyncio.CancelledError):
            raise
        except Reject as reject:
            return [reject] * len(records) if len(records) == 1 else await _halves(stage, records, clock, metrics)
        except Retryable as not_yet:
            delay_s = waits.delay_s(attempt)
            if clock.monotonic_s() + delay_s > give_up_at:
                return [Reject("retries_exhausted", f"{not_yet}, {attempt + 1} times in {stage.patience_s} s")] * len(
                    records
                )
            metrics.count(names.RETRIES_TOTAL, stage=stage.name)
            await asyncio.sleep(delay_s)
        except Exception as bug:  # noqa: BLE001 - the last resort between a bug and a lost event
            if len(records) == 1:
                _log.warning("a bug in %s: %r", stage.name, bug, exc_info=bug)
                return [Reject("bug", f"{type(bug).__name__}: {bug}")]
            metrics.count(names.BISECTIONS_TOTAL)
            return await _halves(stage, records, clock, metrics)
        else:
            if len(results) != len(records):
                raise Misconfigured(f"{stage.name} gave {len(results)} results for {len(records)} records")
            return results
    raise AssertionError("patience ends before a million attempts")


async def _halves(stage: Stage, records: Sequence[Record], clock: Clock, metrics: Metrics) -> list[Result]:
    middle = len(records) // 2
    left = await answers(stage, records[:middle], clock=clock, metrics=metrics)
    return left + await answers(stage, records[middle:], clock=clock, metrics=metrics)

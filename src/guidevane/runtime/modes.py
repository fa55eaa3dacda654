"""Which delivery a mode means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guidevane.runtime.effective import Effective
from guidevane.runtime.lingering import Lingering
from guidevane.runtime.transactional import Transactional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.log import Log
    from guidevane.pipeline import Mode
    from guidevane.runtime.delivery import Delivery
    from guidevane.runtime.fence import Fence
    from guidevane.runtime.pacing import Limits
    from guidevane.runtime.stage import Stage
    from guidevane.telemetry.metrics import Metrics


async def open_delivery(
    mode: Mode,
    log: Log,
    group: str,
    instance: str,
    stages: Sequence[Stage],
    fence: Fence,
    metrics: Metrics,
    limits: Limits,
) -> Delivery:
    """Return the delivery of one life of a worker. Raises ``Retryable`` where the log does not answer."""
    if mode == "transactional":
        return Transactional(
            log,
            group=group,
            instance=instance,
            clock=fence.clock,
            fence=fence,
            metrics=metrics,
            every_s=limits.transact_every_s,
            timeout_s=limits.session_s,
        )
    # Between fused stages nobody waits for the topic; what a stage recalls after a crash must be there first.
    unawaited = [stage.output for stage in stages[:-1] if stage.recall is None]
    producer = await log.producer(name=instance)
    # At half of what may be in flight, a room that stood still goes on.
    lingering = Lingering(producer, fence, linger_s=limits.gather_s, most=max(limits.max_records // 2, 1))
    return Effective(producer, lingering, clock=fence.clock, metrics=metrics, unawaited=unawaited)

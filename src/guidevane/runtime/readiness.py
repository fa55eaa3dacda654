"""What a worker says of itself: whether it is ready, and what a person should look at though it is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from guidevane.errors import Retryable
from guidevane.runtime.held import Held
from guidevane.runtime.unacknowledged import Unacknowledged
from guidevane.telemetry import names

if TYPE_CHECKING:
    from guidevane.clock import Clock
    from guidevane.log import Consumer, Log
    from guidevane.runtime.holding import Holding
    from guidevane.runtime.pacing import Limits
    from guidevane.runtime.twins import Twins
    from guidevane.telemetry.health import Health
    from guidevane.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class Readiness:
    """One worker's, over all of its lives: it reads ``source``, and its first stage writes to ``target``."""

    def __init__(
        self,
        source: str,
        target: str,
        *,
        log: Log,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        limits: Limits,
        twins: Twins,
    ) -> None:
        self._source, self._target = source, target
        self._log, self._clock, self._metrics, self._health = log, clock, metrics, health
        self._look_every_s = limits.look_every_s
        self.twins = twins
        self._held = Held(clock, within_s=limits.held_s)
        self._unacknowledged = Unacknowledged(clock, within_s=limits.acknowledged_s)
        # What ended the last life, until this one is seen to get further.
        self._trouble = ""
        # Why events come that nobody answers, while they do.
        self._unanswerable = ""
        self._looking: asyncio.Task[None] | None = None
        self._looked_s = clock.monotonic_s()

    def begin(self) -> None:
        """A life begins: what it can answer is looked at a while later."""
        self._looked_s = self._clock.monotonic_s()

    def end(self) -> None:
        """A life ends: nobody looks any more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def failed(self, trouble: Exception) -> None:
        """Say what ended a life; it holds until the next one is seen to get further."""
        self._trouble = str(trouble)
        self._health.ready(False, self._trouble)

    def got_further(self) -> None:
        """Take note that something was answered: the last life's trouble is over."""
        self._trouble = ""

    def owns_all(self) -> None:
        """Say that what is ours is taken over, and works unless something is wrong."""
        wrong = self.twins.says or self._unanswerable or self._trouble
        self._health.ready(not wrong, wrong or "working")

    def take_stock(self, consumer: Consumer, holding: Holding) -> None:
        """Say how far behind we are, and what holds us up; with nothing to do, the last life's trouble is over."""
        ends, owned = consumer.ends_seen(), holding.owned.keys()
        behind = holding.behind(ends)
        if not behind and not holding.flying and ends.keys() >= owned >= consumer.assignment():
            self.got_further()
        self._held.look(consumer.held())
        self._unacknowledged.look(holding.awaited())
        self._health.watch(*self._held.says, *self._unacknowledged.says)
        self._metrics.gauge(names.CONSUMER_LAG_RECORDS, behind, topic=self._source)
        self._metrics.gauge(names.HELD_PARTITIONS, self._held.partitions(self._source), topic=self._source)

    def look_when_due(self) -> None:
        """Each ``look_every_s``, look beside the loop whether all that comes can be answered."""
        if self._looking is not None and self._looking.done():
            self._looking.result()
            self._looking = None
        if self._looking is None and self._clock.monotonic_s() - self._looked_s >= self._look_every_s:
            # A broker that hangs must not keep from its work who needs nothing of it.
            self._looking = asyncio.create_task(self._look())
            self._looked_s = self._clock.monotonic_s()

    async def _look(self) -> None:
        """Say so where the input has partitions that the output has not: what is sent there, nobody can answer."""
        source, target = self._source, self._target
        try:
            have, answered = await self._log.ends(source), await self._log.ends(target)
        except Retryable as away:
            # Whoever needs what is away meets it, and says so; here somebody only looks.
            _log.info("not looked at: %s", away)
            return
        extra = sorted(have.keys() - answered.keys())
        said = (
            f"{source} has {len(have)} partitions, {target} has {len(answered)}: nobody answers what is sent to {extra}"
        )
        if extra and not self._unanswerable:
            _log.error("%s → make the topics of the pipeline anew, with as many partitions each", said)
        self._unanswerable = said if extra else ""

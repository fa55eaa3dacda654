"""Writing places down: one commit at a time, beside the loop, which must not stand while one is not answered."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from guidevane.errors import Fenced, Ousted

if TYPE_CHECKING:
    from collections.abc import Callable

    from guidevane.log import Consumer
    from guidevane.runtime.delivery import Delivery
    from guidevane.runtime.flight import Route
    from guidevane.runtime.holding import Holding

# What is answered and not committed is read at the next takeover: no more of it than comes in this time.
_UNCOMMITTED_S = 60.0
_log = logging.getLogger(__name__)


class Committing:
    """The commits of one life of a worker. ``ousted`` is told where the group says that it has another such member."""

    def __init__(
        self, consumer: Consumer, delivery: Delivery, holding: Holding, route: Route, ousted: Callable[[], None]
    ) -> None:
        self._consumer = consumer
        self._delivery = delivery
        self._holding = holding
        self._route = route
        self._ousted = ousted
        self._turn = asyncio.Lock()
        self._beside: asyncio.Task[None] | None = None
        self._since_s = 0.0

    async def now(self) -> None:
        """Commit what has landed; what stages remember of it is written before.

        A rebalance commits beside the loop. Neither may commit what the other is still writing, and a commit that
        waits for its coordinator would take the place back if it were heard behind one that had more to say.
        """
        async with self._turn:
            places = self._holding.to_commit()
            if not places:
                return
            unwritten = self._holding.to_remember()
            if unwritten:
                self._route.fence.check()
                await self._delivery.remember(self._route.remembered(unwritten))
            try:
                await self._delivery.commit(self._consumer, places)
            except Fenced as lost:
                # Nothing depends on a commit but the length of the next takeover; if the partitions are
                # really gone, the group tells us so by revoking them.
                _log.warning("not committed: %s", lost)
                if isinstance(lost, Ousted):
                    self._ousted()
                self._holding.not_committed(places)

    def beside(self) -> None:
        """Commit beside the caller, unless that is under way. Raises what went wrong the last time."""
        if self._beside is not None:
            if not self._beside.done():
                return
            self._beside.result()
        self._beside = asyncio.create_task(self.now())
        self._since_s = self._route.clock.monotonic_s()

    async def overdue(self, within_s: float) -> bool:
        """Tell whether nothing more may be answered until there is a commit, once that was waited for so long."""
        if self._beside is None or self._beside.done():
            return False
        if self._route.clock.monotonic_s() - self._since_s < _UNCOMMITTED_S:
            return False
        await asyncio.wait([self._beside], timeout=within_s)
        return not self._beside.done()

    async def cancel(self) -> None:
        """Give up what is under way: it must not be heard once others own the partitions."""
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.cancel()
            await asyncio.wait([beside])
            _ = beside.cancelled() or beside.exception()

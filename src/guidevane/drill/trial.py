"""One fault, tried: load before, the fault, load until all is well again, and the verdict."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.drill.waiting import until
from guidevane.errors import GuidevaneError, Misconfigured
from guidevane.ledger import Allowance, Oracle, Recovery, Verdict, held_of, judge, recovery
from guidevane.ledger.held import hot_topics
from guidevane.log.kafka.placed import PLACES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.drill.fault import Fault
    from guidevane.drill.looking import Looking
    from guidevane.drill.scene import Scene
    from guidevane.ledger import Entry, Ledger

Tell = Callable[[str, str], None]
"""Told which fault is tried, and what is going on."""

_STEADY_WITHIN_S = 60.0
_PATIENCE_S = 30.0
_ANSWERS_WITHIN_S = 60.0
_SECOND_ANSWERS_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one fault. ``skipped`` says why it could not be tried here."""

    fault: Fault
    verdict: Verdict | None = None
    recovery: Recovery | None = None
    degraded: int = 0
    fallback: int = 0
    complaints: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether every oracle is content, and all became well again."""
        return (
            self.verdict is not None
            and self.verdict.ok
            and not self.complaints
            and self.recovery is not None
            and self.recovery.seconds is not None
        )

    @property
    def in_time(self) -> bool:
        """Tell whether it became well as soon as it should."""
        found = self.recovery.seconds if self.recovery is not None else None
        return found is not None and found <= self.fault.within_s

    @property
    def word(self) -> str:
        """Say in a word what came of it."""
        if self.skipped:
            return "not tried"
        return "FAILED" if not self.ok else "kept" if self.in_time else "kept, late"

    def count(self, oracle: Oracle) -> int:
        """Return how often one oracle spoke."""
        return self.verdict.count(oracle) if self.verdict is not None else 0


@dataclass(slots=True)
class Trying:
    """Tries one fault after the other on one scene."""

    scene: Scene
    ledger: Ledger
    looking: Looking
    tell: Tell
    earlier: set[str] = field(default_factory=set)

    async def one(self, fault: Fault, prefix: str) -> Trial:
        """Try a fault. What goes wrong in trying is a complaint, not an end."""
        complaints: list[str] = []
        scene, topics = self.scene, self.scene.platform.pipeline.topics
        since = {topic: await scene.log.ends(topic) for topic in (*hot_topics(topics), PLACES)}
        self.looking.take()
        self.tell(fault.name, "load")
        began_us = scene.clock.now_us()
        scene.load.begin(prefix)
        found, skipped = Recovery(None, 0), ""
        try:
            if not await self._well(prefix, began_us, began_us, (), _STEADY_WITHIN_S):
                complaints.append(f"nothing went well for {_STEADY_WITHIN_S:.0f} s before the fault")
            found = await self._hurt(fault, prefix)
        except Misconfigured as cannot:
            skipped = str(cannot)
        except (GuidevaneError, TimeoutError, OSError) as failed:
            complaints.append(f"the fault itself failed: {failed!r}")
        finally:
            scene.load.end()
        self.tell(fault.name, "answers")
        complaints += await self._mended(fault)
        await self._answered(prefix)
        if fault.also is not None and not skipped:
            complaints += await fault.also(scene)
        self.tell(fault.name, "verdict")
        trial = await self._judged(fault, prefix, since, found, complaints, skipped)
        self.tell(fault.name, f"= {trial.word}")
        return trial

    async def _hurt(self, fault: Fault, prefix: str) -> Recovery:
        clock = self.scene.clock
        self.tell(fault.name, "fault")
        began_us = clock.now_us()
        await fault.hurt(self.scene)
        over_us = clock.now_us()
        self.tell(fault.name, "recovery")
        await self._well(prefix, began_us, over_us, fault.rooms, fault.within_s + _PATIENCE_S)
        back_s = (clock.now_us() - over_us) / 1e6
        found = self._recovery(prefix, began_us, over_us)
        # Rooms off the events' way leave no trace in them: when they are back was seen by asking.
        hot = set(self.scene.hot)
        if found.seconds is not None and fault.rooms and not hot.issuperset(fault.rooms):
            ready = await self.scene.ready(fault.rooms)
            return Recovery(round(max(found.seconds, back_s), 3) if ready else None, found.unwell)
        return found

    def _recovery(self, prefix: str, began_us: int, over_us: int) -> Recovery:
        return recovery(self._of(prefix).values(), began_us=began_us, over_us=over_us)

    async def _well(self, prefix: str, began_us: int, over_us: int, rooms: tuple[str, ...], within_s: float) -> bool:
        """Wait until all is well; tell whether it came to that."""

        async def well() -> bool:
            found = self._recovery(prefix, began_us, over_us)
            return found.seconds is not None and (not rooms or await self.scene.ready(rooms))

        return await until(well, within_s)

    async def _mended(self, fault: Fault) -> list[str]:
        if fault.mend is None:
            return []
        try:
            await fault.mend(self.scene)
        except (GuidevaneError, TimeoutError, OSError) as failed:
            return [f"could not be mended: {failed!r}"]
        return []

    async def _answered(self, prefix: str) -> None:
        """Wait until every event has its answer; who is still without one then is lost."""

        async def done() -> bool:
            answered = (entry.decided_us is not None or entry.dead for entry in self._of(prefix).values())
            return not self.scene.load.unacknowledged and all(answered)

        if await until(done, _ANSWERS_WITHIN_S):
            # A second answer would come about now.
            await asyncio.sleep(_SECOND_ANSWERS_S)

    async def _judged(
        self,
        fault: Fault,
        prefix: str,
        since: dict[str, Mapping[int, int]],
        found: Recovery,
        complaints: list[str],
        skipped: str,
    ) -> Trial:
        entries = self._of(prefix)
        held = await held_of(
            self.scene.log,
            self.scene.platform.pipeline.topics,
            since=since,
            commits=self.looking.take(),
            placed=await self.looking.placed(self.scene.log, since[PLACES]),
        )
        # Where outcomes are written in transactions, a zombie is fenced by the broker: nothing is excused.
        behind_zombie = fault.behind_zombie and self.scene.platform.delivery == "effective"
        allowing = Allowance(behind_zombie=behind_zombie, places_forgotten=fault.places_forgotten)
        verdict = judge(entries, held, earlier=self.earlier, allowing=allowing)
        self.earlier |= entries.keys()
        outcomes = [entry.outcome for entry in entries.values()]
        return Trial(
            fault=fault, verdict=verdict, recovery=found, degraded=outcomes.count("degraded"),
            fallback=outcomes.count("fallback"), complaints=tuple(complaints), skipped=skipped,
        )  # fmt: skip

    def _of(self, prefix: str) -> dict[str, Entry]:
        # In the order in which they were sent: this fault's are the last.
        mine = itertools.islice(self.ledger.entries.items(), len(self.earlier), None)
        return {event_id: entry for event_id, entry in mine if event_id.startswith(prefix)}

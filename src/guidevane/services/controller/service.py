"""The room: each second it observes, decides and acts; what it decided stands in the audit log, holds included."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, cast

from guidevane.control.actions import Decision, Set
from guidevane.control.bill import BILL, FREE
from guidevane.errors import Fenced, GuidevaneError, Misconfigured, Reject, Retryable
from guidevane.events import Control
from guidevane.log import Fetch, Message, Partition
from guidevane.runtime.obeying import read_control
from guidevane.services.controller.act import Auditor
from guidevane.services.controller.billing import Billing
from guidevane.services.controller.hands import Hands
from guidevane.services.controller.observe import ACTOR, Window
from guidevane.services.controller.telling import ROOM, Teller
from guidevane.services.controller.unhurried import unhurried
from guidevane.telemetry import names
from guidevane.topics import CONTROL, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.control.actions import Act, Policy
    from guidevane.control.bill import Prices
    from guidevane.control.observation import Observation
    from guidevane.events import Telemetry
    from guidevane.log import Consumer, Log, Producer, Record
    from guidevane.runtime.fence import Fence
    from guidevane.services.controller.act import Scaler
    from guidevane.services.controller.learning import Detector
    from guidevane.services.controller.staffing import Staffing
    from guidevane.telemetry.health import Health
    from guidevane.telemetry.metrics import Metrics

PLAN: Final = "plan"
"""The key of the control topic under which a controller leaves to the next one what it was ready for."""
LEADS: Final = Partition(TELEMETRY, 0)
"""Who owns this in the controllers' group steers; the others wait."""
_PLAN_EVERY_S: Final = 10.0
_PLAN_HOLDS_S: Final = 900.0
FETCH: Final = Fetch(wait_s=0.25, max_records=2_000)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """What the controller needs of the world."""

    log: Log
    producer: Producer
    codec: Codec
    clock: Clock
    scaler: Scaler
    metrics: Metrics
    health: Health
    fence: Fence
    staffing: Staffing | None = None


class Controller:
    """Steers one pipeline. It touches nothing on an event's way: rooms go on as they are when it is gone.

    What it knows of settings and pauses it reads from the control topic, what it knows of replicas
    it asks of Serve: after a crash it goes on from there, and epochs never go back. ``prepare`` makes the policy,
    in a thread of its own, for that takes seconds; until then the room watches, learns and holds. ``watchful``
    makes what gives stations their detectors, once one is known well enough to be watched.
    ``prices`` are what it bills by.
    """

    def __init__(
        self,
        pipeline: str,
        window: Window,
        prepare: Callable[[], Policy],
        ports: Ports,
        watchful: Callable[[], Callable[[], Detector]] | None = None,
        prices: Prices = FREE,
    ) -> None:
        self.pipeline = pipeline
        self.ports = ports
        self.control: dict[str, Control] = {}
        self.decided: tuple[Observation, Decision, object] | None = None
        self.policy: Policy | None = None
        self.memory: object = None
        self._prepare = prepare
        self._watchful = watchful
        self._watcher: Callable[[], Detector] | None = None
        self._window = window
        self._teller = Teller(pipeline, Auditor(ports.log, ports.producer, ports.codec, ports.clock), ports.clock)
        self._telemetry = ports.codec.decoder("telemetry")
        self._settings = ports.codec.decoder("control")
        self._billing = Billing(prices, ports.metrics)
        self._hands = Hands(ports.scaler, ports.staffing, ports.clock, ports.metrics)
        self._planned_s: float | None = None
        self._heard_to: int | None = None
        """The offset of the telemetry to be read next; ``None`` while another one leads."""

    async def run(self, stop: asyncio.Event, *, group: str, instance: str, every_s: float = 1.0) -> None:
        """Steer while this is the one that leads; trouble with log or Ray is waited out. Raises ``Misconfigured``."""
        beating = asyncio.create_task(self.ports.fence.tick())
        preparing = asyncio.create_task(self.ready())
        try:
            while not stop.is_set():
                consumer = self.ports.log.consumer([TELEMETRY], group=group, instance=instance, fetch=FETCH)
                settings = self.ports.log.reader([CONTROL], fetch=FETCH)
                try:
                    self.ports.fence.reset()
                    await consumer.start()
                    await settings.start()
                    await self._lead(consumer, settings, stop, every_s, preparing)
                except (Retryable, Fenced) as trouble:
                    self.ports.health.ready(False, str(trouble))
                    _logger.warning("starting over: %s", trouble)
                    await _stopped(stop, every_s)
                finally:
                    for each in (consumer, settings):
                        with suppress(GuidevaneError):
                            await each.close()
        finally:
            for task in (beating, preparing):
                task.cancel()
            await asyncio.gather(beating, preparing, return_exceptions=True)
        self.ports.health.ready(False, "stopped")

    async def ready(self) -> None:
        """Make the policy ready, and what models' changes are noticed by; the loop goes round meanwhile.

        Both take seconds of CPU to import, so at once: later they would take them from events.
        """
        self.policy = await asyncio.to_thread(self._prepare)
        if self._watchful is not None:
            self._watcher = await asyncio.to_thread(self._watchful)

    async def recover(self, consumer: Consumer) -> None:
        """Begin to lead: read all that was ever set, and telemetry from now on."""
        log = self.ports.log
        self.memory = None
        self._hands.forget()
        self._heard_to = (await log.ends(TELEMETRY)).get(0, 0)
        consumer.seek(LEADS, self._heard_to)
        self._window.restart()
        for record in await log.read(Partition(CONTROL, 0), 0):
            self.follow(record)
        bill = self.control.get(BILL)
        self._billing.restore(None if bill is None else bill["settings"])
        self.ports.health.ready(True, "steering")

    async def listen(self, consumer: Consumer, settings: Consumer, *, within_s: float) -> None:
        """Take in what is new on both topics; of telemetry only while this one leads. Raises ``Retryable``."""
        told = (await settings.fetch(timeout_s=0)).values()
        heard = (await consumer.fetch(timeout_s=within_s)).get(LEADS, ())
        for record in chain(*told, self._unheard(consumer, heard)):
            self.follow(record)

    def follow(self, record: Record) -> None:
        """Take in one record of either topic; one that cannot be read is left out, and told."""
        try:
            if record.topic == TELEMETRY:
                said = cast("Telemetry", self._telemetry(record.value, record.headers))
                self._window.follow(said, self.ports.clock.now_us())
            elif record.value is not None:
                self._obey(read_control(record, self._settings))
        except Reject as nonsense:
            _logger.warning("%s at offset %s: %s", record.topic, record.offset, nonsense)

    async def step(self) -> Decision:
        """Observe, decide, act once; return what was decided. Raises ``Fenced`` where another may lead by now."""
        seen = await self.observe()
        self._billing.charge(seen)
        if self._window.profiler.sure:
            self._window.profiler.watcher = self._watcher
        if self.policy is None:
            decision = Decision(why="the planner is being prepared", reason="the planner is being prepared")
        else:
            # A plan may take seconds, and the loop has health and heartbeats to see to.
            decision, self.memory = await asyncio.to_thread(unhurried, self.policy, seen, self.memory)
        self.ports.fence.check()
        self.decided = seen, decision, self.memory
        await self._teller.changes(seen)
        for effect in decision.effects:
            if not effect.took:
                self.ports.metrics.count(names.CONTROLLER_FAILURES_TOTAL, action="effect")
            await self._teller.effect(effect)
        if decision.held:
            self.ports.metrics.count(names.CONTROLLER_ACTIONS_TOTAL, action="hold")
            await self._teller.hold(decision, seen)
        for act in decision.acts:
            self.ports.metrics.count(names.CONTROLLER_ACTIONS_TOTAL, action=type(act).__name__.lower())
            await self._do(act, decision, seen)
        self._show(decision)
        await self._leave_plan(decision)
        if (kept := self._billing.to_keep()) is not None:
            await self._write(BILL, kept, "what this month has cost", whole=True)
        return decision

    async def observe(self) -> Observation:
        """Return what is known now."""
        await self._hands.look(self._window.hosts())
        told, now_us = self.control.get(ROOM), self.ports.clock.now_us()
        paused = f"by {told['actor']}: {told['reason']}" if told and told["settings"].get("paused") else ""
        plan = self.control.get(PLAN)
        fresh = plan is not None and 0 <= now_us - plan["at_us"] < _PLAN_HOLDS_S * 1e6
        expected = plan["settings"].get("rate_per_s") if plan is not None and fresh else None
        return self._window.observe(
            now_us, control=self.control, replicas=self._hands.replicas, consumers=self._hands.consumers, paused=paused,
            expected_per_s=expected,
        )  # fmt: skip

    async def _lead(
        self, consumer: Consumer, settings: Consumer, stop: asyncio.Event, every_s: float, preparing: asyncio.Task[None]
    ) -> None:
        leads = False
        while not stop.is_set():
            self.ports.health.tick()
            if preparing.done():
                preparing.result()
            owns = LEADS in consumer.assignment()
            if owns and not leads:
                await self.recover(consumer)
            elif not owns:
                self._heard_to = None
                self.ports.health.ready(True, "another controller steers; this one waits")
            leads = owns
            until_s = self.ports.clock.monotonic_s() + every_s
            while not stop.is_set() and (left_s := until_s - self.ports.clock.monotonic_s()) > 0:
                await self.listen(consumer, settings, within_s=left_s)
            if leads and not stop.is_set() and LEADS in consumer.assignment():
                await self.step()

    def _unheard(self, consumer: Consumer, records: Sequence[Record]) -> Sequence[Record]:
        """Return the telemetry that was not read before.

        Nobody commits a place in it: whenever the group deals its partitions out again, as when another controller
        joins, the leader is handed all of it once more, from the beginning. Hours of events are not what came just now.

        Raises:
            Retryable: the topic is another one by now.
        """
        heard_to = self._heard_to
        if heard_to is None or not records:
            return ()
        if records[-1].offset < heard_to and LEADS in consumer.assignment():
            if consumer.ends_seen().get(LEADS, heard_to) < heard_to:
                raise Retryable(f"{TELEMETRY} ends before {heard_to}, up to where it was read")
            consumer.seek(LEADS, heard_to)
        self._heard_to = max(heard_to, records[-1].offset + 1)
        return [each for each in records if each.offset >= heard_to]

    async def _do(self, act: Act, decision: Decision, seen: Observation) -> None:
        """Write down what will be done, then do it; where it fails, write that down too and go on."""
        await self._teller.act(act, decision, seen)
        if isinstance(act, Set):
            await self._write(act.room, {act.name: act.value}, act.reason)
            return
        try:
            await self._hands.do(act)
        except (Retryable, Misconfigured) as failed:
            self.ports.metrics.count(names.CONTROLLER_FAILURES_TOTAL, action=type(act).__name__.lower())
            await self._teller.failure(act, str(failed))

    async def _write(self, room: str, settings: Mapping[str, float], reason: str, *, whole: bool = False) -> None:
        before = self.control.get(room)
        control = Control(
            pipeline=self.pipeline,
            room=room,
            at_us=self.ports.clock.now_us(),
            epoch=1 if before is None else before["epoch"] + 1,
            settings={**(before["settings"] if before and not whole else {}), **settings},
            actor=ACTOR,
            reason=reason,
        )
        message = Message(f"{self.pipeline}/{room}".encode(), self.ports.codec.encode("control", control))
        await self.ports.producer.send(CONTROL, 0, [message])
        self._obey(control)

    async def _leave_plan(self, decision: Decision) -> None:
        """Leave the rate to whoever leads next: who knows nothing of the traffic must not begin with too little."""
        now_s = self.ports.clock.monotonic_s()
        if decision.rate_per_s is None or decision.ready_for_per_s is None:
            return
        if self._planned_s is not None and now_s - self._planned_s < _PLAN_EVERY_S:
            return
        self._planned_s = now_s
        rates = {"rate_per_s": round(decision.rate_per_s, 3), "ready_for_per_s": round(decision.ready_for_per_s, 3)}
        await self._write(PLAN, rates, "what the next controller begins with")

    def _show(self, decision: Decision) -> None:
        shown = (
            (names.ARRIVALS_PER_SECOND, decision.rate_per_s),
            (names.READY_FOR_PER_SECOND, decision.ready_for_per_s),
            (names.PREDICTED_MISS, decision.predicted_miss),
        )
        for name, value in shown:
            if value is not None:
                self.ports.metrics.gauge(name, value)

    def _obey(self, control: Control) -> None:
        if control["pipeline"] != self.pipeline:
            return
        before = self.control.get(control["room"])
        if before is None or control["epoch"] > before["epoch"]:
            self.control[control["room"]] = control


async def _stopped(stop: asyncio.Event, within_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await stop.wait()

"""The room: each second it observes, decides and acts; what it decided stands in the audit log, holds included."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, cast

from guidevane.control.policy import Hold, Memory, Scale, Set
from guidevane.errors import GuidevaneError, Misconfigured, Reject, Retryable
from guidevane.events import Control
from guidevane.log import Fetch, Message, Partition
from guidevane.services.controller.act import Auditor
from guidevane.services.controller.observe import ACTOR, Window
from guidevane.telemetry import names
from guidevane.topics import CONTROL, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.clock import Clock
    from guidevane.codec import Codec
    from guidevane.control.observation import Observation
    from guidevane.control.policy import Action, Policy
    from guidevane.events import Telemetry
    from guidevane.log import Consumer, Log, Producer, Record
    from guidevane.services.controller.act import Scaler
    from guidevane.telemetry.health import Health
    from guidevane.telemetry.metrics import Metrics

ROOM: Final = "controller"
_FOLD_S: Final = 10.0
_LOOK_S: Final = 5.0
_FETCH: Final = Fetch(wait_s=0.25, max_records=2_000)
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


class Controller:
    """Steers one pipeline. It touches nothing on an event's way: rooms go on as they are when it is gone.

    What it knows of settings and pauses it reads from the control topic, what it knows of replicas
    it asks of Serve: after a crash it goes on from there, and epochs never go back.
    """

    def __init__(self, pipeline: str, deployments: Mapping[str, Sequence[str]], policy: Policy, ports: Ports) -> None:
        self.pipeline = pipeline
        self.policy = policy
        self.ports = ports
        self.control: dict[str, Control] = {}
        self._window = Window(pipeline, deployments)
        self._memory = Memory()
        self._auditor = Auditor(ports.log, ports.producer, ports.codec, ports.clock)
        self._telemetry = ports.codec.decoder("telemetry")
        self._settings = ports.codec.decoder("control")
        self._replicas: Mapping[str, int] = {}
        self._looked_s: float | None = None
        self._held: tuple[str, float] | None = None

    async def run(self, stop: asyncio.Event, *, every_s: float = 1.0) -> None:
        """Steer until told to stop; trouble with the log or with Ray is waited out. Raises ``Misconfigured``."""
        while not stop.is_set():
            reader = self.ports.log.reader([TELEMETRY, CONTROL], fetch=_FETCH)
            try:
                await self.recover(reader)
                while not stop.is_set():
                    await self._round(reader, stop, every_s)
            except Retryable as trouble:
                self.ports.health.ready(False, str(trouble))
                _logger.warning("starting over: %s", trouble)
                await _stopped(stop, every_s)
            finally:
                with suppress(GuidevaneError):
                    await reader.close()
        self.ports.health.ready(False, "stopped")

    async def recover(self, reader: Consumer) -> None:
        """Read all that was ever set, and telemetry from now on."""
        log = self.ports.log
        settings, telemetry = (await log.ends(CONTROL)).get(0, 0), (await log.ends(TELEMETRY)).get(0, 0)
        for record in await log.read(Partition(CONTROL, 0), 0, settings):
            self.follow(record)
        await reader.start()
        reader.seek(Partition(CONTROL, 0), settings)
        reader.seek(Partition(TELEMETRY, 0), telemetry)
        self.ports.health.ready(True, "steering")

    def follow(self, record: Record) -> None:
        """Take in one record of either topic; one that cannot be read is left out, and told."""
        try:
            if record.topic == TELEMETRY:
                said = cast("Telemetry", self._telemetry(record.value, record.headers))
                self._window.follow(said, self.ports.clock.now_us())
            elif record.value is not None:
                self._obey(cast("Control", self._settings(record.value, record.headers)))
        except Reject as nonsense:
            _logger.warning("%s at offset %s: %s", record.topic, record.offset, nonsense)

    async def step(self) -> list[Action]:
        """Observe, decide, act once; return what was decided."""
        seen = await self.observe()
        actions, self._memory = self.policy(seen, self._memory)
        for action in actions:
            self.ports.metrics.count(names.CONTROLLER_ACTIONS_TOTAL, action=type(action).__name__.lower())
            match action:
                case Hold():
                    await self._hold(action, seen)
                case Set() | Scale():
                    self._held = None
                    await self._do(action, seen)
        return actions

    async def observe(self) -> Observation:
        """Return what is known now."""
        await self._look()
        told = self.control.get(ROOM)
        paused = f"by {told['actor']}: {told['reason']}" if told and told["settings"].get("paused") else ""
        return self._window.observe(
            self.ports.clock.now_us(), control=self.control, replicas=self._replicas, paused=paused
        )

    async def _round(self, reader: Consumer, stop: asyncio.Event, every_s: float) -> None:
        self.ports.health.tick()
        until_s = self.ports.clock.monotonic_s() + every_s
        while not stop.is_set() and (left_s := until_s - self.ports.clock.monotonic_s()) > 0:
            for records in (await reader.fetch(timeout_s=left_s)).values():
                for record in records:
                    self.follow(record)
        if not stop.is_set():
            await self.step()

    async def _look(self) -> None:
        """Ask Serve, not each second, for that costs its controller; what it does not tell is not known."""
        now_s = self.ports.clock.monotonic_s()
        if self._looked_s is not None and now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        try:
            self._replicas = await self.ports.scaler.replicas()
        except (Retryable, Misconfigured) as trouble:
            if self._replicas:
                _logger.warning("replicas are not known: %s", trouble)
            self._replicas = {}
        for member, replicas in self._replicas.items():
            self.ports.metrics.gauge(names.REPLICAS, replicas, member=member)

    async def _do(self, action: Set | Scale, seen: Observation) -> None:
        """Write down what will be done, then do it; where it fails, write that down too and go on."""
        if isinstance(action, Set):
            await self._audit("set", f"{self.pipeline}/{action.room}", action.reason, seen, action)
            await self._set(action)
            return
        subject = f"{self.pipeline}/{action.member}"
        await self._audit("scale", subject, action.reason, seen, action)
        try:
            await self.ports.scaler.scale(action.member, action.replicas)
        except (Retryable, Misconfigured) as failed:
            self.ports.metrics.count(names.CONTROLLER_FAILURES_TOTAL, action="scale")
            await self._audit("failed", subject, str(failed), seen, action)
            # Serve shall say itself where it stands before this is tried again.
            self._replicas = {name: n for name, n in self._replicas.items() if name != action.member}
            return
        self._replicas = {**self._replicas, action.member: action.replicas}
        self.ports.metrics.gauge(names.REPLICAS, action.replicas, member=action.member)

    async def _set(self, action: Set) -> None:
        before = self.control.get(action.room)
        control = Control(
            pipeline=self.pipeline,
            room=action.room,
            at_us=self.ports.clock.now_us(),
            epoch=1 if before is None else before["epoch"] + 1,
            settings={**(before["settings"] if before else {}), action.name: action.value},
            actor=ACTOR,
            reason=action.reason,
        )
        message = Message(f"{self.pipeline}/{action.room}".encode(), self.ports.codec.encode("control", control))
        await self.ports.producer.send(CONTROL, 0, [message])
        self._obey(control)

    async def _hold(self, action: Hold, seen: Observation) -> None:
        """Write a hold down, but the same one only every ``_FOLD_S``."""
        now_s = self.ports.clock.monotonic_s()
        if self._held is not None and self._held[0] == action.reason and now_s - self._held[1] < _FOLD_S:
            return
        await self._audit("hold", f"{self.pipeline}/controller", action.reason, seen, action)
        self._held = action.reason, now_s

    async def _audit(self, action: str, subject: str, reason: str, seen: Observation, what: Action) -> None:
        detail = {"action": asdict(what), "seen": asdict(seen)}
        await self._auditor.write(action, subject, reason, actor=ACTOR, detail=detail)

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

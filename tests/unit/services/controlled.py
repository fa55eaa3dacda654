"""A log, rooms that speak once a second, a scaler and a crew: what tests steer with the controller."""

from __future__ import annotations

import numpy as np

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.control.actions import Scale
from guidevane.control.bill import Prices
from guidevane.control.guiding import Guide
from guidevane.control.observation import HOT
from guidevane.control.site import Movable, Site
from guidevane.errors import Misconfigured, Retryable
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.fence import Fence
from guidevane.services.controller.act import Standing
from guidevane.services.controller.observe import Window
from guidevane.services.controller.service import FETCH, Controller, Ports
from guidevane.telemetry import names
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.service import served
from guidevane.topics import AUDIT, CONTROL, TELEMETRY

CODEC = Codec(Catalogue())


SITE = Site(members=(Movable(name="deep", cpus=0.1),), slo_s=0.2, epsilon=0.01, most=4, partitions=12, most_consumers=6)


GUIDE = Guide(SITE)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_us(self) -> int:
        return int(self.seconds * 1e6)

    def monotonic_s(self) -> float:
        return self.seconds


class Serve:
    """A scaler that is a dict: what is wanted, and whether it answers."""

    def __init__(self, **replicas: int) -> None:
        self.wanted = dict(replicas)
        self.away = self.stuck = False

    async def replicas(self):
        if self.away:
            raise Retryable("no answer")
        return {name: Standing(n, tuple(f"{name}#{i}" for i in range(n))) for name, n in self.wanted.items()}

    async def scale(self, member: str, replicas: int) -> None:
        if self.away or self.stuck:
            raise Retryable("no answer")
        self.wanted[member] = replicas


class Crew:
    """Whoever runs the rooms: a dict, and whether it answers."""

    def __init__(self) -> None:
        self.wanted = dict.fromkeys(HOT, 1)
        self.refuses = ""

    async def consumers(self, rooms):
        return {name: self.wanted.setdefault(name, 1) for name in rooms}

    async def staff(self, room: str, consumers: int) -> None:
        if self.refuses:
            raise Misconfigured(self.refuses)
        self.wanted[room] = consumers


class World:
    """A log, rooms that speak once a second, and a controller that can die."""

    def __init__(self, **replicas: int) -> None:
        self.clock = Clock()
        self.log = MemoryLog(clock=self.clock)
        self.serve = Serve(**(replicas or {"deep": 1}))
        self.crew = Crew()
        self.busy: dict[str, float] = {}
        self.level: float | None = None
        self.rooms = {name: Metrics("p", name, "0") for name in HOT}
        self.silent: set[str] = set()
        self.age_s, self.session_s = 0.05, 10.0
        self.rate, self.per_row_s = 100, 0.002
        self.live = self.consumer = self.settings = None

    async def controller(self, instance: str = "one") -> Controller:
        """Start a controller; what led before as this instance is dead, and told nothing."""
        metrics = Metrics("p", "controller", "0")
        producer = await self.log.producer(name="controller")
        ports = Ports(
            self.log, producer, CODEC, self.clock, self.serve, metrics, Health(self.clock),
            Fence(self.clock, self.session_s), self.crew,
        )  # fmt: skip
        self.metrics = metrics
        prices = Prices({"deep": 0.5}, room_usd=0.04)
        self.live = Controller("p", Window("p", {"deep": ("deep",)}), lambda: GUIDE, ports, prices=prices)
        await self.live.ready()
        self.consumer = self.log.consumer([TELEMETRY], group="p.controller", instance=instance, fetch=FETCH)
        self.settings = self.log.reader([CONTROL])
        await self.consumer.start()
        await self.settings.start()
        await self.live.recover(self.consumer)
        return self.live

    async def second(self):
        """Let a second pass: the rooms speak, the controller hears and decides."""
        await self.speak()
        return await self.heard()

    async def speak(self) -> None:
        self.clock.seconds += 1
        now_us = self.clock.now_us()
        for name, metrics in self.rooms.items():
            metrics.count(names.EVENTS_TOTAL, self.rate, stage=name, result="out")
            metrics.count(names.LOOP_BUSY_SECONDS_TOTAL, self.busy.get(name, 0.1))
            if name == "inference" and self.level is not None:
                metrics.gauge(names.DEGRADE_LEVEL, self.level)
            metrics.observe(names.AGE_SECONDS, np.full(self.rate, self.age_s), stage=name)
            if name == "ingest":
                metrics.arrive(name, np.linspace(now_us - 1e6, now_us - 1, self.rate), now_us)
            if name == "inference":
                # What a batch takes is what its rows take: no size of it spares anything.
                for records in (5, 20) * (self.rate // 25):
                    served(metrics, "deep", records, self.per_row_s * records)
            else:
                served(metrics, name, 20, 0.001)
            if name == "postprocess":
                metrics.count(names.DECISIONS_TOTAL, self.rate, outcome="full")
            said = metrics.drain(now_us)
            if name not in self.silent:
                await self.log.append(TELEMETRY, 0, [Message(None, CODEC.encode("telemetry", said))])

    async def heard(self):
        await self.live.listen(self.consumer, self.settings, within_s=0)
        return await self.live.step()

    async def scaled(self, seconds: int) -> list[Scale]:
        told = [await self.second() for _ in range(seconds)]
        return [act for each in told for act in each.acts if isinstance(act, Scale)]

    async def told(self, room: str, actor: str, epoch: int, **settings: float) -> None:
        control = {"pipeline": "p", "room": room, "at_us": self.clock.now_us(), "epoch": epoch, "settings": settings}
        value = CODEC.encode("control", {**control, "actor": actor, "reason": "roll-out"})
        await self.log.append(CONTROL, 0, [Message(f"p/{room}".encode(), value)])

    def audit(self):
        return [CODEC.decode("audit", record.value) for record in self.log.records(AUDIT)]

    def control(self):
        return [CODEC.decode("control", record.value) for record in self.log.records(CONTROL)]

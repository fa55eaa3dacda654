"""Every fault there is, each declared once."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from guidevane.drill import deeds
from guidevane.drill.fault import Fault
from guidevane.local.platform import rooms_of

if TYPE_CHECKING:
    from guidevane.local.platform import Rooms

ROOM_S, ROOMS_S, BROKER_S, RAY_S = 12.0, 20.0, 30.0, 30.0
# The supervisor takes half a minute without an answer for death.
HUNG_S = 45.0


def faults_of(rooms: Rooms) -> tuple[Fault, ...]:
    """Return every fault for rooms apart or fused, in the order in which a drill goes through them."""
    every = rooms_of(rooms)
    hot = every[:-3]
    return (
        *(_killed(room) for room in every),
        Fault(
            name="kill-rooms", does="kill -9 of all rooms at once", within_s=ROOMS_S, rooms=every,
            hurt=partial(deeds.kill, parts=every),
        ),
        *(_paused(room) for room in every),
        Fault(
            name="pause-rooms", does=f"SIGSTOP of all rooms at once, for {deeds.PAUSE_S:.0f} s", within_s=ROOM_S,
            rooms=every, hurt=partial(deeds.pause, seconds=deeds.PAUSE_S, parts=every),
        ),
        Fault(
            name=f"hang-{hot[-1]}", does=f"SIGSTOP of {hot[-1]}, for good: it is found dead and replaced",
            within_s=HUNG_S, rooms=(hot[-1],),
            hurt=partial(deeds.tell, parts=(hot[-1],), number=signal.SIGSTOP),
        ),
        *(_zombie(room) for room in hot),
        Fault(
            name="roll-rooms", does="every room is told to drain and is started again, one after the other",
            within_s=ROOM_S, rooms=every, hurt=partial(deeds.roll, rooms=every),
        ),
        *_broker(),
        *_ray(),
        *_network(),
        *_load(hot),
        *_clocks(hot),
        Fault(
            name="disk-full", does=f"no room on the broker's disk for {deeds.SPELL_S:.0f} s", within_s=BROKER_S,
            hurt=deeds.fill_disk, mend=deeds.empty_disk, places_forgotten=True,
        ),
        Fault(
            name="dlq-unwritable", within_s=ROOM_S,
            does=f"the dead-letter topic takes nothing for {deeds.SPELL_S:.0f} s, while letters come",
            hurt=deeds.no_letters, mend=deeds.letters_again,
        ),
        Fault(
            name="change-cut", does="admin and controller die by kill -9 while a change is under way", within_s=ROOM_S,
            rooms=("admin", "controller"), hurt=deeds.cut_change, mend=deeds.resume, also=deeds.audit_whole,
        ),
    )  # fmt: skip


def _killed(room: str) -> Fault:
    return Fault(
        name=f"kill-{room}", does=f"kill -9 of {room}", within_s=ROOM_S, rooms=(room,),
        hurt=partial(deeds.kill, parts=(room,)),
    )  # fmt: skip


def _paused(room: str) -> Fault:
    return Fault(
        name=f"pause-{room}", does=f"SIGSTOP of {room} for {deeds.PAUSE_S:.0f} s", within_s=ROOM_S, rooms=(room,),
        hurt=partial(deeds.pause, seconds=deeds.PAUSE_S, parts=(room,)),
    )  # fmt: skip


def _zombie(room: str) -> Fault:
    return Fault(
        name=f"zombie-{room}",
        does=f"of two members of {room}, one stands still for longer than its session and then goes on",
        within_s=ROOM_S, rooms=(room,), hurt=partial(deeds.make_zombie, room=room), mend=deeds.dismiss,
        behind_zombie=True,
    )  # fmt: skip


def _broker() -> tuple[Fault, ...]:
    kafka = partial(deeds.tell, parts=("kafka",))
    return (
        Fault(name="broker-kill", does="kill -9 of the broker", within_s=BROKER_S,
              hurt=partial(kafka, number=signal.SIGKILL)),
        Fault(name="broker-stop", does="the broker is told to stop, and is started again", within_s=BROKER_S,
              hurt=partial(kafka, number=signal.SIGTERM)),
        Fault(name="broker-pause", does="SIGSTOP of the broker, for longer than the rooms' session", within_s=BROKER_S,
              hurt=deeds.pause_broker),
        Fault(name="broker-bounce", does="kill -9 of the broker, and again as soon as it is back", within_s=BROKER_S,
              hurt=deeds.bounce_broker),
    )  # fmt: skip


def _ray() -> tuple[Fault, ...]:
    return (
        Fault(name="replica-kill", does="kill -9 of one replica of a member, calls in flight", within_s=RAY_S,
              hurt=partial(deeds.replica, number=signal.SIGKILL)),
        Fault(name="replica-hang", does="SIGSTOP of one replica of a member, for good", within_s=RAY_S,
              hurt=partial(deeds.replica, number=signal.SIGSTOP)),
        Fault(name="serve-controller-kill", does="kill -9 of Serve's controller", within_s=RAY_S,
              hurt=deeds.kill_serve_controller),
        Fault(name="ray-head-kill", does="kill -9 of the Ray head and of everything that it started", within_s=RAY_S,
              hurt=deeds.kill_ray),
    )  # fmt: skip


def _network() -> tuple[Fault, ...]:
    return (
        Fault(name="network-cut", does="nothing passes between rooms and broker, for longer than the session",
              within_s=2 * deeds.SPELL_S + deeds.BEYOND_SESSION_S, hurt=deeds.cut, mend=deeds.reconnect),
        Fault(name="network-delay", within_s=ROOM_S,
              does=f"every byte between rooms and broker takes 150 ms more, for {deeds.SPELL_S:.0f} s",
              hurt=deeds.delay, mend=deeds.reconnect),
        Fault(name="network-reset", does="every connection between rooms and broker is closed, three times",
              within_s=ROOM_S, hurt=deeds.reset, mend=deeds.reconnect),
    )  # fmt: skip


def _load(hot: tuple[str, ...]) -> tuple[Fault, ...]:
    return (
        Fault(name="duplicates", does=f"half of the events come twice, and {hot[0]} is killed among them",
              within_s=ROOM_S, hurt=partial(deeds.duplicates, room=hot[0])),
        Fault(name="rebalance-storm", does="strangers join the rooms' groups and leave them again, six times",
              within_s=ROOM_S, hurt=deeds.storm),
        Fault(name="burst", does="ten times the load, for 4 s", within_s=ROOM_S, hurt=deeds.burst),
        Fault(name="slow-consumer", does=f"{hot[-1]} runs a quarter of the time, for {deeds.SPELL_S:.0f} s",
              within_s=ROOM_S, hurt=partial(deeds.slow, room=hot[-1])),
    )  # fmt: skip


def _clocks(hot: tuple[str, ...]) -> tuple[Fault, ...]:
    return tuple(
        Fault(name=f"clock-{name}", does=f"the rooms on an event's way run with a clock that is an hour {name}",
              within_s=ROOM_S, rooms=hot, hurt=partial(deeds.skew, offset_s=offset_s), mend=deeds.right_clocks)
        for name, offset_s in (("ahead", 3600.0), ("behind", -3600.0))
    )  # fmt: skip

"""Ray Serve's own autoscaler, as of 2.60 (``autoscaling_policy.py``, ``_private/autoscaling_state.py``, ``config.py``).

Queued and running requests are sampled every 6 s and pushed every 10 s; their time-weighted mean over 30 s, divided by
2, is how many replicas there should be. Up when that was above the target for 30 s, down when below for 600 s, to the
last value. Replicas that are starting count for nothing. ``max_ongoing_requests`` 5 caps ``@serve.batch``'s 10: a
replica never has more than 5 events in hand, so batches end at 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from guidevane.control.plant import Action, Setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.control.plant import Observation

BATCH, MAX_ONGOING, BATCH_WAIT_S = 10, 5, 0.01


def time_weighted_mean(samples: Sequence[tuple[float, float]], begin_s: float, *, last_s: float = 1.0) -> float | None:
    """Return the mean of a right-continuous step function from ``begin_s`` on; its last value is held ``last_s``.

    >>> time_weighted_mean([(0.0, 4.0), (6.0, 10.0)], begin_s=2.0)
    5.2
    """
    if not samples:
        return None
    end_s, total, weight = samples[-1][0] + last_s, 0.0, 0.0
    for at, (since, value) in enumerate(samples):
        until = samples[at + 1][0] if at + 1 < len(samples) else end_s
        span = until - max(since, begin_s)
        if span > 0:
            total += value * span
            weight += span
    return total / weight if weight else None


def decision(total: float, running: int, *, target: float, up: float = 1.0, down: float = 1.0) -> int:
    """Return how many replicas ``total`` ongoing requests ask for, before bounds and delays.

    >>> decision(13.0, running=2, target=2.0)
    7
    """
    desired = total / target
    factor = up if desired > running else down
    scaled = math.ceil(running + factor * (desired - running))
    if math.ceil(desired) < running and scaled == running:
        scaled -= 1
    return scaled


@dataclass(frozen=True, slots=True)
class Waiting:
    """One deployment's target, since when another was wanted without a break, and what was sampled."""

    target: int
    above_s: float | None = None
    below_s: float | None = None
    samples: tuple[tuple[float, float], ...] = ()
    pushed: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Ray:
    """The autoscaler on every stage for itself, from a deployment ``start`` whose hardware stays."""

    start: Mapping[str, Setting]
    target_ongoing: float = 2.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0
    look_back_s: float = 30.0
    sample_s: float = 6.0
    push_s: float = 10.0
    max_replicas: int = 100
    most_batch: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __call__(self, seen: Observation, memory: Mapping[str, Waiting] | None) -> tuple[Action, Mapping[str, Waiting]]:
        """Decide for every stage."""
        before = memory or {name: Waiting(max(each.replicas, 1)) for name, each in self.start.items()}
        after = {name: self.step(seen, name, waiting) for name, waiting in before.items()}
        settings = {
            name: Setting(
                each.hardware,
                after[name].target,
                min(BATCH, MAX_ONGOING, self.most_batch.get(name, BATCH)),
                BATCH_WAIT_S,
            )
            for name, each in self.start.items()
        }
        held = all(after[name].target == before[name].target for name in before)
        return Action(settings, "Ray Serve's autoscaler", held=held), after

    def step(self, seen: Observation, name: str, was: Waiting) -> Waiting:
        """Return one deployment's state a tick later."""
        now, stage = seen.time_s, seen.stage(name)
        samples, pushed = was.samples, was.pushed
        if now % self.sample_s == 0 and now > 0:
            recent = tuple(each for each in samples if each[0] > now - self.look_back_s - self.sample_s)
            samples = (*recent, (now, float(stage.queue + stage.in_service)))
        if now % self.push_s == 0:
            pushed = samples
        total = time_weighted_mean(pushed, now - self.look_back_s)
        if total is None:
            return replace(was, samples=samples, pushed=pushed)
        wanted = decision(total, stage.ready, target=self.target_ongoing)
        wanted = min(max(wanted, 1), self.max_replicas)
        above = (now if was.above_s is None else was.above_s) if wanted > was.target else None
        below = (now if was.below_s is None else was.below_s) if wanted < was.target else None
        target = was.target
        if above is not None and now - above >= self.up_delay_s:
            target, above = wanted, None
        elif below is not None and now - below >= self.down_delay_s:
            target, below = wanted, None
        return Waiting(target, above, below, samples, pushed)

"""The first two tiers of the estimator: how busy a stage would be, and a formula that orders a search.

Neither decides what is feasible; the simulation does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from guidevane.control.profile import half_normal_quantile

if TYPE_CHECKING:
    from guidevane.control.graph import Stage
    from guidevane.control.plant import Setting
    from guidevane.control.profile import Profile

BUSIEST = 0.98
"""No stage is planned busier than this."""


def load(stage: Stage, setting: Setting, rate_per_s: float) -> float:
    """Return how busy the replicas of a stage are at full batches: rate x L(b) / (k x b).

    Consumers of a topic are as busy as the one with the most partitions: the rate of ceil(P / n) of P.
    """
    profile = stage.on(setting.hardware).profile
    per_replica = profile.throughput(setting.batch)
    if stage.partitions:
        consumers = min(setting.replicas, stage.partitions)
        return rate_per_s * math.ceil(stage.partitions / consumers) / stage.partitions / per_replica
    return rate_per_s / (setting.replicas * per_replica)


def effective_batch(profile: Profile, rate_per_s: float, batch: int, replicas: int) -> int:
    """Return the batch that forms by itself: the fixed point of min(b, max(1, rate x L(b_e) / k)).

    >>> from guidevane.control.profile import Profile
    >>> effective_batch(Profile.read({"1": 10.0, "8": 40.0}), 150.0, 8, 1)
    2
    """
    size = 1.0
    for _ in range(64):
        wanted = min(float(batch), max(1.0, rate_per_s * profile.latency_s(max(round(size), 1)) / replicas))
        if abs(wanted - size) < 0.25:  # noqa: PLR2004 - a quarter of an item
            return round(wanted)
        size = (size + wanted) / 2
    return round(size)


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that an arrival waits in M/M/k, for an offered load in servers (Erlang, 1917).

    >>> round(erlang_c(3, 2.0), 4), erlang_c(1, 0.5)
    (0.4444, 0.5)
    """
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def stage_quantile_s(profile: Profile, rate_per_s: float, scv: float, setting: Setting, p: float = 0.99) -> float:
    """Return the ``p`` quantile of the time in one stage, waiting and service; infinite where it is overrun.

    Waiting has an exponential tail: P(W > t) = C x exp(-t / theta) with Erlang's C and theta =
    (c_a^2 + c_s^2) / 2 / (k mu - rate) (Allen-Cunneen). To it comes the wait for a replica that is in
    the middle of a batch, L(b_e) / k, and the batch's own service at its ``p`` quantile.
    """
    batch = setting.batch
    spare = setting.replicas * profile.throughput(batch) - rate_per_s
    if spare <= 0:
        return math.inf
    formed = effective_batch(profile, rate_per_s, batch, setting.replicas)
    waits = erlang_c(setting.replicas, rate_per_s / profile.throughput(batch))
    theta = (scv + profile.jitter**2) / 2 / spare
    wait_s = max(0.0, math.log(waits / (1 - p))) * theta if waits > 0 else 0.0
    service_s = profile.latency_s(formed)
    return wait_s + service_s / setting.replicas + service_s * (1 + profile.jitter * half_normal_quantile(p))

"""How long members will take, learned from how long they took."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from guidevane.control.ladder import Timed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guidevane.ensemble import Ensemble

_FORGETS = 0.97
_SPREADS = 2.0
# Who was not asked for so long is believed to be twice as quick: without that, one bad moment would be for ever.
_HALVES_S = 2.0
_MOST = 64
_CALL_S: Final = 0.003
"""What one more call costs: so long lies between two of a replica (decision 0021)."""


@dataclass(slots=True)
class Band:
    """A line through what was seen lately, and the spread about it.

    Least squares with exponential forgetting; neither end of it is below zero.

    >>> band = Band()
    >>> for x in (1.0, 2.0, 4.0) * 20:
    ...     band.learn(x, 0.01 + 0.005 * x)
    >>> round(band.mean(8.0), 3)
    0.05
    """

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    off: float = 0.0

    def learn(self, x: float, y: float) -> None:
        """Take in that ``x`` took ``y`` seconds."""
        if self.weight:
            self.off = _FORGETS * self.off + (1 - _FORGETS) * (y - self.mean(x)) ** 2
        kept = _FORGETS * self.weight
        self.weight = kept + 1.0
        step = 1.0 / self.weight
        dx = x - self.x
        self.x += step * dx
        # West's update: covariances as they stand about the new means, without large sums that cancel.
        self.xx = (1 - step) * (self.xx + step * dx * dx)
        self.xy = (1 - step) * (self.xy + step * dx * (y - self.y))
        self.y += step * (y - self.y)

    def mean(self, x: float) -> float:
        """Return the line's height at ``x``, seconds; 0 where nothing is known."""
        return max(self.y + self.slope * (x - self.x), 0.0)

    @property
    def slope(self) -> float:
        """Return how much one more takes: nothing takes less for more, and nothing less than no time."""
        slope = self.xy / self.xx if self.tilted else 0.0
        return min(max(slope, 0.0), self.y / self.x if self.x else 0.0)

    @property
    def tilted(self) -> bool:
        """Tell whether enough different was seen to know a slope."""
        return self.xx > 1e-6 * self.x * self.x

    def at(self, x: float) -> float:
        """Return what to reckon with at ``x``: two standard deviations above the line."""
        return self.mean(x) + _SPREADS * math.sqrt(self.off)


@dataclass(slots=True)
class _Host:
    """One deployment: how long calls waited there by the work that was ahead of them, and what is ahead now."""

    wait: Band = field(default_factory=Band)
    ahead_s: float = 0.0
    heard_s: float = 0.0
    calls: int = 0
    since_s: float = 0.0

    def left_s(self, now_s: float) -> float:
        """Return the work that is left of what was sent: since the last answer, one call has been computed."""
        if not self.calls:
            return 0.0
        return max(self.ahead_s - min(max(now_s - self.since_s, 0.0), self.ahead_s / self.calls), 0.0)


@dataclass(slots=True, eq=False)
class Call:
    """One batch on its way: what was ahead of it at each host, and what it adds there itself, seconds of computing.

    ``silent``: who has not answered yet, by host.
    """

    sent_s: float
    ahead_s: Mapping[str, float]
    own_s: Mapping[str, float]
    silent: dict[str, set[str]]


class Took(NamedTuple):
    """How long a member's answer took and was computed, and how many rows were computed in that time."""

    took_s: float
    busy_s: float
    rows: int


class Expecting:
    """What one room knows of its members' times. Times are the caller's, monotonic seconds.

    ``replicas`` tells how many of a deployment there are, 0 where that is not known.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.replicas: Callable[[str], int] = lambda _: 0
        self._host_of = {name: host for host, names in ensemble.deployments.items() for name in names}
        self._accuracy = {each.name: each.accuracy or 1.0 for each in ensemble.deployed}
        self._busy = {name: Band() for name in self._host_of}
        self._hosts = {host: _Host() for host in ensemble.deployments}

    def computed(self, name: str, rows: int, busy_s: float) -> None:
        """Learn how long a member computed on so many rows."""
        self._busy[name].learn(rows, busy_s)

    def timed(self, name: str, rows: int) -> Timed:
        """Return what asking a member about ``rows`` would take of its host."""
        return Timed(name, self._host_of[name], self._busy[name].at(rows), self._accuracy[name])

    def waits_s(self, now_s: float) -> dict[str, float]:
        """Return how long a call that is sent now would wait at each host, travelling included."""
        return {name: self._wait_s(host, now_s) for name, host in self._hosts.items()}

    def open(self, names: Sequence[str], rows: int, calls: int = _MOST) -> bool:
        """Tell whether one more call, of so many at most, would keep these busy, and not just wait there.

        Work ahead of a call delays it by its share: one part in as many as there are replicas. So many calls, and as
        many more as are travelling meanwhile, keep them busy (Little's law); one more stands ready. What waits here
        instead can still be put off, joined to others, or go without. Quicker members may have more, as long as they
        end before the slowest one does: there calls are put together (``lanes``).
        """
        by_host = self._own_s(names, rows)
        slowest_s = max(by_host.values())
        for host, own_s in by_host.items():
            here = self._hosts[host]
            if here.calls >= calls:
                return False
            if own_s < slowest_s and here.wait.mean(here.ahead_s) + own_s <= slowest_s:
                continue
            replicas = float(self.replicas(host))
            if not replicas:
                # One, until something else was seen: two calls at once will tell.
                replicas = 1.0 / max(here.wait.slope, 1.0 / _MOST) if here.wait.tilted else 1.0
            travelling = here.wait.mean(0.0) / own_s if own_s else 1.0
            if here.calls >= min(1 + max(round(replicas * (1.0 + travelling)), 1), _MOST):
                return False
        return True

    def shared(self, names: Sequence[str], rows: int, calls: int) -> int:
        """Return in how many calls, at most so many, this many rows are answered soonest by replicas that idle.

        A batch takes as long as its rows take one after the other, in one replica, whoever idles beside it. A host with
        fewer idle than calls puts calls together again (``lanes``). Of equals, the fewest; one where nobody idles, or
        a call costs more than it saves.
        """
        hosts = self._by_host(names)
        idle = {host: max(self.replicas(host) - self._hosts[host].calls, 1) for host in hosts}

        def took_s(pieces: int) -> float:
            shares = {host: -(-rows // min(pieces, idle[host])) for host in hosts}
            return max(self._together_s(hosts[host], shares[host]) for host in hosts) + (pieces - 1) * _CALL_S

        most = min(rows, calls, max(idle.values()))
        if (
            most <= 1
            or max(self._together_s(there, rows) - self._together_s(there, 1) for there in hosts.values()) < _CALL_S
        ):
            return 1
        return min(range(1, most + 1), key=took_s)

    def send(self, names: Sequence[str], rows: int, now_s: float) -> Call:
        """Note that these are asked now; hand what is returned to ``back`` in any case."""
        own_s = self._own_s(names, rows)
        ahead_s = {host: self._hosts[host].left_s(now_s) for host in own_s}
        for host, busy_s in own_s.items():
            here = self._hosts[host]
            if not here.calls:
                here.since_s = now_s
            here.ahead_s += busy_s
            here.calls += 1
        silent = {host: set(there) for host, there in self._by_host(names).items()}
        return Call(now_s, ahead_s, own_s, silent)

    def heard(self, call: Call, name: str, now_s: float) -> None:
        """Note that one who was asked has answered, or will not: a quick member is free before the slow one is."""
        host = self._host_of[name]
        silent = call.silent.get(host, set())
        silent.discard(name)
        if not silent:
            self._free(call, host, now_s)

    def back(self, call: Call, now_s: float) -> None:
        """Note that a call is over, whatever came of it."""
        for host in tuple(call.silent):
            self._free(call, host, now_s)

    def _free(self, call: Call, host: str, now_s: float) -> None:
        if call.silent.pop(host, None) is None:
            return
        here = self._hosts[host]
        here.calls -= 1
        here.since_s = now_s
        # Sums of floats that cancel: with nothing under way, nothing is ahead.
        here.ahead_s = max(here.ahead_s - call.own_s[host], 0.0) if here.calls else 0.0

    def learn(self, call: Call, answers: Mapping[str, Took | None], now_s: float) -> None:
        """Learn from a batch: what each member's answer took, or ``None`` where it gave nothing.

        Who has not answered took as long at least: that is learned where less was expected.
        """
        for host, own_s in call.own_s.items():
            there = {name: each for name, each in answers.items() if self._host_of[name] == host}
            came = {name: each for name, each in there.items() if each is not None}
            for name, each in came.items():
                self.computed(name, each.rows, each.busy_s)
            if came:
                waited_s = max(each.took_s for each in came.values()) - sum(each.busy_s for each in came.values())
            else:
                waited_s = now_s - call.sent_s - own_s
                if waited_s <= self._hosts[host].wait.mean(call.ahead_s[host]):
                    continue
            self._hosts[host].wait.learn(call.ahead_s[host], max(waited_s, 0.0))
            self._hosts[host].heard_s = now_s

    def _by_host(self, names: Sequence[str]) -> dict[str, list[str]]:
        by_host: dict[str, list[str]] = {}
        for name in names:
            by_host.setdefault(self._host_of[name], []).append(name)
        return by_host

    def _own_s(self, names: Sequence[str], rows: int) -> dict[str, float]:
        return {host: self._together_s(there, rows) for host, there in self._by_host(names).items()}

    def _together_s(self, names: Sequence[str], rows: int) -> float:
        """Return how long members of one host compute, one after the other."""
        return sum(self._busy[name].mean(rows) for name in names)

    @staticmethod
    def _wait_s(host: _Host, now_s: float) -> float:
        idle_s = now_s - host.heard_s if host.ahead_s == 0.0 else 0.0
        return host.wait.at(host.left_s(now_s)) * math.exp2(-max(idle_s, 0.0) / _HALVES_S)

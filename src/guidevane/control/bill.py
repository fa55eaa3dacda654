"""What a pipeline costs: now, by part; in this month so far; and what the month's bill will be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping  # noqa: TC003 - a frozen value's field, read when it runs
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.control.observation import Observation

BILL: Final = "bill"
"""The key of the control topic under which an account lies."""
_US_PER_S: Final = 1_000_000
HOUR_US: Final = 3600 * _US_PER_S
_DAY_H: Final = 24
_KEPT_H: Final = 7 * _DAY_H
_FEW: Final = 4
"""Spans that a spread must rest on; so many whole days, and days are taken instead of hours."""
_P90: Final = statistics.NormalDist().inv_cdf(0.9)


@dataclass(frozen=True, slots=True)
class Prices:
    """What one of each costs an hour: a replica, by its member's name, and a process of a room."""

    members: Mapping[str, float]
    room_usd: float


FREE: Final = Prices({}, 0.0)
"""Where nobody says what anything costs."""


def usd_per_hour(prices: Prices, seen: Observation) -> dict[str, float]:
    """Return what each part costs an hour: replicas, billed from launch until they are gone, and processes.

    Parts of which nothing is known are left out.
    """
    found = {f"room {each.name}": each.heard * prices.room_usd for each in seen.rooms}
    for each in seen.members:
        if each.name in prices.members and each.replicas is not None:
            launched = max(each.replicas, each.ready + len(each.starting))
            found[each.name] = launched * prices.members[each.name]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What was spent up to ``at_us``: in this month (UTC), in the hour that runs, and in each whole hour, newest last.

    ``began_us`` is since when anything is written down: an hour that began before is no whole one.
    """

    began_us: int
    at_us: int
    spent_usd: float = 0.0
    decisions: int = 0
    hour_usd: float = 0.0
    hours: tuple[float, ...] = field(default=())

    @classmethod
    def opened(cls, at_us: int) -> Account:
        """Return one in which nothing is written."""
        return cls(began_us=at_us, at_us=at_us)

    def charged(self, usd_an_hour: float, decisions: int, at_us: int) -> Account:
        """Return the account at ``at_us``, with so many decisions more.

        The whole time since the last entry counts at today's price: while nobody steers, nobody launches either. Who
        was away for longer than all that is remembered begins anew; time that goes backwards costs nothing.
        """
        if at_us - self.at_us > _KEPT_H * HOUR_US:
            return replace(Account.opened(at_us), decisions=decisions)
        now = self
        while now.at_us < at_us:
            ends_us = (now.at_us // HOUR_US + 1) * HOUR_US
            now = now._until(min(at_us, ends_us), usd_an_hour, ends_us)
        return replace(now, decisions=now.decisions + decisions)

    def _until(self, at_us: int, usd_an_hour: float, ends_us: int) -> Account:
        """Return the account at a moment of the hour that runs, which ends at ``ends_us``."""
        usd = usd_an_hour * (at_us - self.at_us) / HOUR_US
        now = replace(self, at_us=at_us, spent_usd=self.spent_usd + usd, hour_usd=self.hour_usd + usd)
        if at_us < ends_us:
            return now
        hours = now.hours
        if self.began_us <= ends_us - HOUR_US:
            hours = (*hours, now.hour_usd)[-_KEPT_H:]
        if _month(at_us) != _month(self.at_us):
            now = replace(now, spent_usd=0.0, decisions=0)
        return replace(now, hours=hours, hour_usd=0.0)

    @property
    def usd_per_1000(self) -> float | None:
        """This month's cost of a thousand decisions; ``None`` before the first one."""
        return self.spent_usd / self.decisions * 1000 if self.decisions else None

    def as_settings(self) -> dict[str, float]:
        """Return it as the control topic keeps it."""
        told = {
            "began_s": self.began_us / _US_PER_S, "at_s": self.at_us / _US_PER_S, "spent_usd": self.spent_usd,
            "decisions": float(self.decisions), "hour_usd": self.hour_usd,
        }  # fmt: skip
        return told | {f"hour.{place:03}": round(usd, 6) for place, usd in enumerate(self.hours)}

    @classmethod
    def of_settings(cls, told: Mapping[str, float]) -> Account:
        """Return what :meth:`as_settings` said. Raises ``KeyError`` for anything else."""
        return cls(
            began_us=round(told["began_s"] * _US_PER_S), at_us=round(told["at_s"] * _US_PER_S),
            spent_usd=told["spent_usd"], decisions=int(told["decisions"]), hour_usd=told["hour_usd"],
            hours=tuple(usd for name, usd in sorted(told.items()) if name.startswith("hour.")),
        )  # fmt: skip


class Forecast(NamedTuple):
    """The month's bill, US dollars: half of the months like this one stay below ``p50``, nine of ten below ``p90``.

    ``p90`` is ``None`` while too little is known of how far one hour is from another.
    """

    p50: float
    p90: float | None


def month_end(account: Account, usd_an_hour: float) -> Forecast:
    """Return what the month's bill will be.

    The rest of the month is a sum of spans like those that were: whole days, once there are four, before that whole
    hours (whose likeness to their neighbours makes the p90 too low), and before that the price of now. The interval is
    the usual one for a sum of ``n`` future values after ``k`` seen ones: its variance is s^2 (n + n^2 / k), its
    quantile Student's with k - 1 degrees of freedom.
    """
    left_h = (_month_ends_us(account.at_us) - account.at_us) / HOUR_US
    if len(account.hours) < _FEW:
        return Forecast(account.spent_usd + left_h * usd_an_hour, None)
    span_h = _DAY_H if len(account.hours) >= _FEW * _DAY_H else 1
    seen = _sums(account.hours, span_h)
    spans, k = left_h / span_h, len(seen)
    p50 = account.spent_usd + spans * statistics.fmean(seen)
    spread = statistics.stdev(seen) * math.sqrt(spans + spans * spans / k)
    return Forecast(p50, p50 + _student_p90(k - 1) * spread)


def _sums(hours: Sequence[float], span_h: int) -> list[float]:
    """Return the sums of whole spans, the newest hours last."""
    first = len(hours) % span_h
    return [sum(hours[start : start + span_h]) for start in range(first, len(hours), span_h)]


def _student_p90(freedom: int) -> float:
    """Return Student's 0.9 quantile, by the first terms of its expansion (Abramowitz and Stegun, 26.7.5).

    >>> round(_student_p90(3), 2), round(_student_p90(30), 3)  # tables: 1.638, 1.310
    (1.63, 1.31)
    """
    z = _P90
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def _month(at_us: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(at_us / _US_PER_S, UTC)
    return at.year, at.month


def _month_ends_us(at_us: int) -> int:
    year, month = _month(at_us)
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return round(following.timestamp()) * _US_PER_S

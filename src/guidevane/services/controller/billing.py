"""What the pipeline costs: told as metrics, and kept on the control topic for who leads next."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from guidevane.control.bill import Account, Prices, month_end, usd_per_hour
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.observation import Observation
    from guidevane.telemetry.metrics import Metrics

_KEEP_EVERY_US: Final = 300_000_000
_logger = logging.getLogger(__name__)


class Billing:
    """Charges each second what runs; ``account`` is ``None`` before the first one."""

    def __init__(self, prices: Prices, metrics: Metrics) -> None:
        self.account: Account | None = None
        self._prices = prices
        self._metrics = metrics
        self._parts: dict[str, float] = {}
        self._kept_us = 0

    def restore(self, kept: Mapping[str, float] | None) -> None:
        """Go on with the account that another controller kept; with none, or what is none, a new one is opened."""
        try:
            self.account = None if kept is None else Account.of_settings(kept)
        except KeyError as missing:
            _logger.warning("the bill on the control topic has no %s: a new one is opened", missing)
            self.account = None

    def charge(self, seen: Observation) -> None:
        """Write down what ran since the last observation. A part that is not seen costs what it cost when it was."""
        self._parts |= usd_per_hour(self._prices, seen)
        now_usd = sum(self._parts.values())
        before = self.account or Account.opened(seen.at_us)
        self.account = account = before.charged(now_usd, seen.ended, seen.at_us)
        for part, usd in self._parts.items():
            self._metrics.gauge(names.COST_USD_PER_HOUR, usd, part=part)
        if account.usd_per_1000 is not None:
            self._metrics.gauge(names.COST_USD_PER_THOUSAND_DECISIONS, account.usd_per_1000)
        forecast = month_end(account, now_usd)
        for of, usd_of_month in (("spent", account.spent_usd), ("p50", forecast.p50), ("p90", forecast.p90)):
            if usd_of_month is not None:
                self._metrics.gauge(names.COST_MONTH_USD, usd_of_month, of=of)

    def to_keep(self) -> Mapping[str, float] | None:
        """Return the account where it is time to keep it."""
        account = self.account
        if account is None or 0 <= account.at_us - self._kept_us < _KEEP_EVERY_US:
            return None
        self._kept_us = account.at_us
        return account.as_settings()

"""Asking, and telling, those who run replicas and rooms."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from guidevane.control.actions import Scale, Staff
from guidevane.errors import Misconfigured, Retryable
from guidevane.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guidevane.clock import Clock
    from guidevane.services.controller.act import Scaler, Standing
    from guidevane.services.controller.staffing import Staffing
    from guidevane.telemetry.metrics import Metrics

_LOOK_S: Final = 5.0
_logger = logging.getLogger(__name__)


class Hands:
    """Knows how many ``replicas`` and ``consumers`` there are, as far as those who run them say; nothing otherwise."""

    def __init__(self, scaler: Scaler, staffing: Staffing | None, clock: Clock, metrics: Metrics) -> None:
        self._scaler = scaler
        self._staffing = staffing
        self._clock = clock
        self._metrics = metrics
        self.replicas: Mapping[str, Standing] = {}
        self.consumers: Mapping[str, int] = {}
        self._looked_s: float | None = None
        self._trouble: dict[str, str] = {}

    def forget(self) -> None:
        """Ask anew at the next look."""
        self._looked_s = None

    async def look(self, rooms: Iterable[str]) -> None:
        """Ask: not each second, for that costs Serve's controller, but while a replica starts."""
        now_s = self._clock.monotonic_s()
        calm = not any(each.starting for each in self.replicas.values())
        if self._looked_s is not None and calm and now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        try:
            self.replicas = await self._scaler.replicas()
            self._told("replicas", "")
        except (Retryable, Misconfigured) as trouble:
            self._told("replicas", str(trouble))
            self.replicas = {}
        for member, standing in self.replicas.items():
            self._metrics.gauge(names.REPLICAS, standing.wanted, member=member)
        if self._staffing is None:
            return
        try:
            self.consumers = await self._staffing.consumers(rooms)
            self._told("consumers", "")
        except (Retryable, Misconfigured) as trouble:
            self._told("consumers", str(trouble))
            self.consumers = {}

    async def do(self, act: Scale | Staff) -> None:
        """Have it done. Raises ``Retryable`` or ``Misconfigured``, and knows nothing of it until the next look."""
        try:
            if isinstance(act, Scale):
                await self._scaler.scale(act.member, act.replicas)
                self._metrics.gauge(names.REPLICAS, act.replicas, member=act.member)
            elif self._staffing is not None:
                await self._staffing.staff(act.room, act.consumers)
        except (Retryable, Misconfigured):
            if isinstance(act, Scale):
                self.replicas = {name: each for name, each in self.replicas.items() if name != act.member}
            else:
                self.consumers = {name: each for name, each in self.consumers.items() if name != act.room}
            raise
        self._looked_s = None

    def _told(self, what: str, trouble: str) -> None:
        """Log a trouble once, until it is another one, or over."""
        if trouble and trouble != self._trouble.get(what):
            _logger.warning("%s are not known: %s", what, trouble)
        self._trouble[what] = trouble

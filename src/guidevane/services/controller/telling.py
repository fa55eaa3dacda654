"""Every decision in words, with what was seen and what was rejected, in the audit log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from guidevane.control.actions import Scale, Staff
from guidevane.services.controller.observe import ACTOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.clock import Clock
    from guidevane.control.actions import Act, Decision, Effect
    from guidevane.control.observation import Observation
    from guidevane.services.controller.act import Auditor

ROOM: Final = "controller"
_FOLD_S: Final = 10.0


class Teller:
    """Writes the rows of one pipeline's controller. Each method raises ``Retryable``."""

    def __init__(self, pipeline: str, auditor: Auditor, clock: Clock) -> None:
        self._pipeline = pipeline
        self._auditor = auditor
        self._clock = clock
        self._held: tuple[str, float] | None = None
        self._changes: dict[str, int] = {}

    async def act(self, act: Act, decision: Decision, seen: Observation) -> None:
        """Tell what will be done now."""
        self._held = None
        detail = {"action": asdict(act), **_told(decision, seen)}
        if isinstance(act, Scale):
            await self._write("scale", act.member, f"{act.before} → {act.replicas} replicas: {act.reason}", detail)
            return
        if isinstance(act, Staff):
            reason = f"{act.before} → {act.consumers} consumers: {act.reason}"
            await self._write("staff", act.room, reason, detail)
            return
        was = "" if act.before is None else f"{act.before:g} → "
        await self._write("set", act.room, f"{act.name} {was}{act.value:g}: {act.reason}", detail)

    async def failure(self, act: Scale | Staff, why: str) -> None:
        """Tell that who runs replicas or rooms did not do it."""
        await self._write("failed", act.member if isinstance(act, Scale) else act.room, why, {"action": asdict(act)})

    async def hold(self, decision: Decision, seen: Observation) -> None:
        """Tell that nothing is done, and why; the same only every ten seconds."""
        now_s = self._clock.monotonic_s()
        if self._held is not None and self._held[0] == decision.why and now_s - self._held[1] < _FOLD_S:
            return
        await self._write("hold", ROOM, decision.reason, _told(decision, seen))
        self._held = decision.why, now_s

    async def effect(self, effect: Effect) -> None:
        """Tell what became of an act."""
        took = "in force" if effect.took else "NOT in force"
        missed = (f"{each['missed']:.2%}" if "missed" in each else "?" for each in (effect.before, effect.since))
        reason = f"{effect.name} {effect.value:g} is {took} after {effect.after_s:.0f} s; late {' → '.join(missed)}"
        await self._write("effect", effect.subject, reason, asdict(effect))

    async def changes(self, seen: Observation) -> None:
        """Tell of stations that became slower or quicker by themselves."""
        for line in seen.lines:
            if line.changes > self._changes.get(line.name, 0):
                reason = "takes another time for equal batches: its model or its machine changed, not the traffic"
                await self._write("profile", line.name, reason, asdict(line))
            self._changes[line.name] = line.changes

    async def _write(self, action: str, subject: str, reason: str, detail: Mapping[str, object]) -> None:
        await self._auditor.write(action, f"{self._pipeline}/{subject}", reason, actor=ACTOR, detail=detail)


def _told(decision: Decision, seen: Observation) -> dict[str, object]:
    """Return what the audit keeps of a decision: what was seen, what was planned, what was rejected."""
    plan = {name: {"replicas": replicas, "batch": batch} for name, (replicas, batch) in decision.plan.items()}
    return {
        "decision": {
            "rate_per_s": decision.rate_per_s, "ready_for_per_s": decision.ready_for_per_s, "plan": plan,
            "predicted_miss": decision.predicted_miss, "usd_per_hour": decision.usd_per_hour,
            "rejected": [asdict(each) for each in decision.rejected],
        },
        "seen": asdict(seen),
    }  # fmt: skip

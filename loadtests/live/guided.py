"""The live room's own policy as a policy of the simulation: what stands between the tuner and a site is in it, too.

That is one batch for all members, the patience with which settings are changed, the pace of replicas, the level, and
telemetry that comes a second later. At level 0 nobody is shed, as in the room.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.control.actions import Scale, Set
from guidevane.control.guiding import CALLS, MAX_BATCH, Guide
from guidevane.control.levelling import LEVEL
from guidevane.control.observation import HOT, MemberSeen, Observation, StageSeen
from guidevane.control.plant import Action, Setting
from guidevane.control.shedding import ahead_s

if TYPE_CHECKING:
    from guidevane.control import plant
    from guidevane.control.graph import Graph
    from guidevane.control.site import Site

_EPOCH_S = 1_000_000.0
_TOLD_LATER = 1
"""How many seconds telemetry is on its way."""


@dataclass
class Guided:
    """Steers ``graph``, in which the site's members are, as the room would; begins with ``replicas`` and ``batch``."""

    site: Site
    graph: Graph
    replicas: dict[str, int]
    batch: int
    decisions: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    """What was done and why, by second."""

    def __post_init__(self) -> None:
        """Begin."""
        self._guide = Guide(self.site)
        self._settings = {MAX_BATCH: float(self.batch), CALLS: float(max(self.replicas.values())), LEVEL: 0.0}
        self._seen: list[Observation] = []

    def __call__(self, seen: plant.Observation, memory: object) -> tuple[Action, object]:
        """Return what shall be: at second 0, what stands there."""
        if seen.interval_s:
            self._seen.append(self._as_seen(seen))
        if len(self._seen) > _TOLD_LATER:
            decision, memory = self._guide(self._seen[-1 - _TOLD_LATER], memory)  # type: ignore[arg-type]
            for act in decision.acts:
                if isinstance(act, Set) and act.room == HOT[2]:
                    self._settings[act.name] = act.value
                elif isinstance(act, Scale):
                    self.replicas[act.member] = act.replicas
            if decision.acts:
                self.decisions.append((seen.time_s, tuple(f"{each}" for each in decision.acts)))
        return self._action(sum(seen.counts)), memory

    def _action(self, coming_per_s: float) -> Action:
        settings = {each.name: self._setting(each.name) for each in self.graph.stages}
        ahead = ahead_s(self.graph, [settings[name] for name in self.graph.names], coming_per_s, self.site.slo_s)
        by_slack = self._settings[LEVEL] > 0
        return Action(settings, "guided", shed=by_slack, ahead_s=dict(zip(self.graph.names, ahead, strict=True)))

    def _setting(self, name: str) -> Setting:
        hardware = self.graph.stage(name).hardware[0]
        # Who stands around the members takes what comes.
        batch = int(self._settings[MAX_BATCH]) if name in self.replicas else hardware.profile.most
        return Setting(hardware.name, self.replicas.get(name, 1), min(batch, hardware.profile.most))

    def _as_seen(self, seen: plant.Observation) -> Observation:
        stages = tuple(
            StageSeen(
                name=name, fetches=name == HOT[0], records=0, rate_per_s=float(seen.arrivals), lag_records=0.0,
                running=self._settings if name == HOT[2] else {}, settings=self._settings if name == HOT[2] else {},
            )
            for name in HOT
        )  # fmt: skip
        return Observation(
            at_us=round((_EPOCH_S + seen.time_s) * 1e6), pipeline="guided", counts=seen.counts, tenths=seen.tenths,
            ended=seen.ended, missed=seen.missed, shed=seen.shed, stages=stages,
            members=tuple(self._member(seen.stage(each.name)) for each in self.site.members),
            expected_per_s=seen.expected_per_s,
        )  # fmt: skip

    def _member(self, seen: plant.StageObservation) -> MemberSeen:
        hardware = self.graph.stage(seen.name).hardware[0]
        starting = tuple(_EPOCH_S + at - hardware.startup_s for at in seen.pending)
        return MemberSeen(
            name=seen.name, replicas=self.replicas[seen.name], ready=seen.ready, starting=starting,
            startup_s=hardware.startup_s, served=seen.served, waiting=float(seen.queue + seen.in_service),
        )  # fmt: skip

"""The live policy: from what a room saw to what it shall do. Pure, so that a recorded log can be judged again.

The tuner (``steer``) says what replicas and batches the traffic to come needs, on the graph that live batches (or a
measured profile) make of the pipeline. Here that is brought within what may be done to a running one:
one batch size for all members, replicas within bounds, cores and a person's word, never many changes at once.
Fetch waits come from what the objective leaves (``waiting``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from guidevane.control import plant, steer
from guidevane.control.actions import Act, Decision, Set
from guidevane.control.analytic import load
from guidevane.control.asking import Live
from guidevane.control.batching import one_batch
from guidevane.control.effects import Awaited, awaited, settled
from guidevane.control.levelling import LEVEL, Pressure, levelled
from guidevane.control.reading import read_graph
from guidevane.control.scaling import fitting, scaled
from guidevane.control.site import Blueprint, Site
from guidevane.control.staffing import Posts, staffed
from guidevane.control.table import Table
from guidevane.control.waiting import FETCH_WAIT, FetchWaits, Intents, Patience, wish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.graph import Graph
    from guidevane.control.observation import Observation

MAX_BATCH, CALLS = "max_batch", "calls"
_CALLS_EACH, _LEAST_CALLS = 2, 4
"""Batches under way for each replica: one computes while the next one travels; and what rooms begin with."""
_INFERENCE: Final = "inference"
_FUSED: Final = "fused"
_RETHINK_S: Final = 30.0
"""How long a belief is planned with at least: each new one costs a second of planning."""
_BEGIN_S, _FEW_S = 5.0, 10.0
"""How long a pipeline is watched before anything is believed of it; and before a few batches are enough."""
_RECENT: Final = 10
_SURPRISE: Final = 1.26
"""Batches are chosen for so much more than is planned for (three steps of the table), if nothing more is feared."""
# More at once helps at once. Less is wanted for long before it is done: each burst would want it back.
_BATCH_PATIENCE = Patience(up_s=0.0, down_s=30.0)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is taken from one observation to the next.

    ``began_us``: the first observation. ``blueprint`` is the belief in force since ``since_us``. ``scaled_us``: when
    each member's replicas were changed last. ``recent``: (ended, missed) of the last ten observations.
    """

    began_us: int = 0
    steering: steer.Memory | None = None
    blueprint: Blueprint | None = None
    since_us: int = 0
    intents: Intents = field(default_factory=Intents)
    scaled_us: tuple[tuple[str, int], ...] = ()
    recent: tuple[tuple[int, int], ...] = ()
    posts: Posts = field(default_factory=Posts)
    awaited: tuple[Awaited, ...] = ()

    @property
    def missed(self) -> float | None:
        """The share of the last seconds' decisions that missed the objective; ``None`` where there were none."""
        ended = sum(each for each, _ in self.recent)
        return sum(each for _, each in self.recent) / ended if ended else None


class Guide:
    """The policy of one site: ``(observation, memory or None) -> (decision, memory)``.

    The tables that it looks up are functions of the site and the blueprint; they are kept, and are no memory.
    """

    def __init__(self, site: Site) -> None:
        """Prepare; nothing is planned before there is something to plan with."""
        self.site = site
        self.waits = FetchWaits(site.slo_s)
        self._graphs: dict[Blueprint | None, tuple[Graph, steer.Steering, Table]] = {}

    def __call__(self, seen: Observation, memory: Memory | None) -> tuple[Decision, Memory]:
        """Return what shall be done, and what to remember."""
        memory = memory or Memory(began_us=seen.at_us)
        memory = replace(memory, recent=(*memory.recent, (seen.ended, seen.missed))[-_RECENT:])
        if seen.paused or seen.missing:
            why = f"paused: {seen.paused}" if seen.paused else f"no telemetry from {', '.join(seen.missing)}"
            # What was wanted before is not wanted still when sight comes back.
            return Decision(why=why, reason=why), replace(memory, intents=Intents())
        waits, intents = self.waits(seen, memory.intents)
        decision, memory = self._members(seen, replace(memory, intents=intents))
        staff, posts, waiting_rooms = staffed(
            self.site, seen, memory.posts, rate_per_s=decision.rate_per_s, ready_for_per_s=decision.ready_for_per_s,
            late=(memory.missed or 0.0) > self.site.epsilon,
        )  # fmt: skip
        memory = replace(memory, posts=posts)
        why = "; ".join((decision.why, *waiting_rooms))
        decision = replace(decision, acts=(*waits, *decision.acts, *staff), why=why)
        effects, waiting = settled(memory.awaited, decision.acts, seen, memory.missed)
        promised = decision.predicted_miss
        new = awaited(
            decision.acts, seen, memory.missed, promised,
            startup_s=self._startup_s(memory), room_startup_s=self.site.room_startup_s,
        )  # fmt: skip
        return replace(decision, effects=effects), replace(memory, awaited=(*waiting, *new))

    def live(self, seen: Observation, memory: object) -> Live | None:
        """Return the pipeline as it stands, for whoever asks what if; ``None`` before its members are known."""
        if not isinstance(memory, Memory):
            return None
        blueprint, steered, site = memory.blueprint, memory.steering, self.site
        if steered is None or (blueprint is None and site.measured is None):
            return None
        graph = self._planning(blueprint)[0]
        view = self._view(graph, seen)
        settings = tuple(
            plant.Setting(each.hardware, max(each.ready, 1), min(max(each.batch, 1), self._most(graph, each.name)))
            for each in view.stages
        )
        lines = {each.name: (each.fixed_s, each.per_row_s) for each in seen.lines}
        together = {each.name: {name: lines.get(name, (1.0, 0.0)) for name in each.together} for each in site.members}
        wait_s = next((each.running.get(FETCH_WAIT, 0.0) for each in seen.stages if each.fetches), 0.0)
        return Live(
            graph=graph, slo_s=site.slo_s, epsilon=site.epsilon, settings=settings, quorum=site.quorum,
            rate_per_s=steered.traffic.rate_per_s, dispersion=steered.dispersion, halves=steered.traffic.halves,
            together=together, cpus=site.cpus, cpus_of={each.name: each.cpus for each in site.members},
            wait_s=wait_s, usual_p99_s=seen.usual_p99_s,
        )  # fmt: skip

    def _most(self, graph: Graph, name: str) -> int:
        return graph.stage(name).hardware[0].profile.most

    def _members(self, seen: Observation, memory: Memory) -> tuple[Decision, Memory]:
        memory = self._believing(seen, memory)
        if self.site.measured is None and memory.blueprint is None:
            # Only what a person asked for is done before anything is known.
            planned = {each.name: each.replicas or 0 for each in seen.members}
            acts, memory, _ = self._acts(seen, memory, planned, None, "nothing is planned yet")
            why = f"too few batches seen yet of {', '.join(self.site.names)}"
            return Decision(acts=acts, why=why, reason=why), memory
        graph, steering, judge = self._planning(memory.blueprint)
        view = self._view(graph, seen)
        wanted, steered = steering(view, memory.steering)
        memory = replace(memory, steering=steered)
        rate, ready_for = steered.traffic.rate_per_s, steered.ready_for
        settings = tuple(wanted.settings[name] for name in graph.names)
        stage = seen.stage(_INFERENCE)
        before = int(stage.settings.get(MAX_BATCH, 0)) if stage is not None else 0
        batch, settings = one_batch(
            graph, judge, settings, self.site, rate_per_s=ready_for,
            feared_per_s=max(_SURPRISE * max(ready_for, rate), *steered.reserves), dispersion=steered.dispersion,
            before=before,
        )  # fmt: skip
        busy = [load(stage, each, ready_for) for stage, each in zip(graph.stages, settings, strict=True)]
        settings, bounds = fitting(self.site, graph, settings, busy)
        planned = {name: settings[graph.index[name]].replicas for name in self.site.names}
        figures = wanted.reason.removeprefix("held: ")
        acts, memory, held = self._acts(seen, memory, planned, batch, figures)
        if stage is not None:
            coming = max(rate, steered.traffic.demand_per_s())
            pressure = Pressure.of(self.site, graph, view, coming, before or batch)
            level, intents, words = levelled(self.site, stage, pressure, ready_for, seen.at_us, memory.intents)
            acts, memory, held = (*level, *acts), replace(memory, intents=intents), (*words, *held)
        told = "; ".join((figures, *bounds))
        why = "; ".join(("on course", *bounds, *held))
        return Decision(
            acts=acts, why=why, reason=told if acts else f"{why}: {told}", rate_per_s=rate, ready_for_per_s=ready_for,
            rejected=wanted.rejected, predicted_miss=wanted.predicted_miss, usd_per_hour=wanted.usd_per_hour,
            plan={name: (each.replicas, each.batch) for name, each in zip(graph.names, settings, strict=True)},
        ), memory  # fmt: skip

    def _believing(self, seen: Observation, memory: Memory) -> Memory:
        """Return the memory with the belief that is planned with from now on: another one only where it is another."""
        if self.site.measured is not None:
            return memory
        watched_s = (seen.at_us - memory.began_us) / 1e6
        now = Blueprint.of(self.site, seen, few=memory.blueprint is None and watched_s >= _FEW_S)
        if now is None:
            return memory
        known_s = (seen.at_us - (memory.since_us if memory.blueprint is not None else memory.began_us)) / 1e6
        if known_s < (_BEGIN_S if memory.blueprint is None else _RETHINK_S):
            return memory
        if memory.blueprint is not None and not memory.blueprint.differs(now):
            return memory
        # What was learned of the traffic stays; a station that was not known before makes another graph.
        same = memory.blueprint is not None and memory.blueprint.stations == now.stations
        return replace(memory, blueprint=now, since_us=seen.at_us, steering=memory.steering if same else None)

    def _planning(self, blueprint: Blueprint | None) -> tuple[Graph, steer.Steering, Table]:
        if blueprint not in self._graphs:
            if len(self._graphs) > 1:
                # Tables take memory, and beliefs before the last do not come back.
                self._graphs.pop(next(iter(self._graphs)))
            site = self.site
            graph = blueprint.graph(site) if blueprint is not None else site.measured
            assert graph is not None  # noqa: S101 - narrows the type: one of both is there, or nothing is planned
            steering = steer.Steering(graph, site.slo_s, site.epsilon, surprised=site.surprised)
            self._graphs[blueprint] = graph, steering, Table(graph, site.slo_s, site.epsilon)
        return self._graphs[blueprint]

    def _view(self, graph: Graph, seen: Observation) -> plant.Observation:
        """Return an observation as the tuner has it."""
        inference = seen.stage(_INFERENCE)
        batch = int(inference.settings.get(MAX_BATCH, 1)) if inference is not None else 1
        # Who goes by slack without a member was overtaken, too: it is in time, and of what a jump may take.
        by_slack = inference is not None and inference.settings.get(LEVEL, 0.0) > self.site.level
        overtaken = min(seen.missed + (seen.degraded if by_slack else 0), seen.ended)
        lag = sum(each.lag_records or 0.0 for each in seen.stages if each.fetches and each.name != "postprocess")
        return plant.Observation(
            time_s=seen.at_us / 1e6,
            interval_s=len(seen.counts) / 2,
            counts=seen.counts,
            tenths=seen.tenths,
            stages=tuple(self._station(stage.name, seen, batch, lag) for stage in graph.stages),
            ended=seen.ended,
            missed=overtaken,
            shed=seen.shed,
            expected_per_s=seen.expected_per_s,
        )

    def _station(self, name: str, seen: Observation, batch: int, lag: float) -> plant.StageObservation:
        arrivals, hardware = sum(seen.counts), self._hardware(name)
        member = seen.member(name)
        if member is None:
            return plant.StageObservation(
                name=name, arrivals=arrivals, queue=0, ready=1, hardware=hardware, batch=batch
            )
        startup_s = member.startup_s or self.site.startup_s
        in_batches = batch * member.ready
        return plant.StageObservation(
            name=name, arrivals=arrivals, queue=int(lag + max((member.waiting or 0.0) - in_batches, 0.0)),
            ready=member.ready, hardware=hardware, batch=batch,
            # A learned line has live batches in it already: the tuner has only a measured profile to correct.
            served=member.served if self.site.measured is not None else (),
            pending=tuple(sorted(at + startup_s for at in member.starting)),
            busy_s=sum(each.mean_s * each.count for each in member.served),
        )  # fmt: skip

    def _hardware(self, name: str) -> str:
        return self.site.measured.stage(name).hardware[0].name if self.site.measured is not None else "default"

    def _acts(
        self, seen: Observation, memory: Memory, planned: Mapping[str, int], batch: int | None, why: str
    ) -> tuple[tuple[Act, ...], Memory, tuple[str, ...]]:
        """Return what to do, what to remember, and a word for each member that has to wait."""
        sets: list[Set] = []
        intents = memory.intents
        if batch is not None and (inference := seen.stage(_INFERENCE)) is not None:
            for name, value in ((MAX_BATCH, float(batch)), (CALLS, _calls(seen, planned, batch))):
                more, intents = wish(inference, name, value, why, _BATCH_PATIENCE, seen.at_us, intents)
                sets += more
        late = (memory.missed or 0.0) > self.site.epsilon
        scales, scaled_us, held = scaled(
            self.site, seen, planned, why, late=late, began_us=memory.began_us, scaled_us=memory.scaled_us
        )
        return (*sets, *scales), replace(memory, intents=intents, scaled_us=scaled_us), held

    def _startup_s(self, memory: Memory) -> float:
        known = () if memory.blueprint is None else memory.blueprint.startups
        return max((seconds for _, seconds in known), default=self.site.startup_s)


def _calls(seen: Observation, planned: Mapping[str, int], batch: int) -> float:
    """Return how many batches each consumer may have under way: their share of what keeps every member's replicas busy.

    While one is computed, the next one travels: 1 + travelling / computing each (Little's law), two at most. What is
    sent too early waits at a replica, and does not grow with what comes meanwhile: one batch more than four replicas
    of a slow member need made its p99 6 % longer, two 21 % (in virtual time).
    """
    consumers = max((each.heard for each in seen.rooms if each.name in {_INFERENCE, _FUSED}), default=1)
    most, least = 1.0, 1
    for each in seen.members:
        line = seen.line(each.name)
        deeply = _CALLS_EACH if line is None or seen.way_s is None else 1 + seen.way_s / line.latency_s(batch)
        if deeply >= _CALLS_EACH:
            deeply, least = _CALLS_EACH, _LEAST_CALLS
        most = max(most, deeply * max(planned.get(each.name, 0), each.replicas or 0))
    return float(max(round(most / max(consumers, 1)), least))


def rehearse() -> None:
    """Plan something small, once: what is compiled when it is first called is ready then."""
    stages = {name: {"latency_ms": {"1": 5, "8": 20}} for name in ("first", "second", "third", "last")}
    edges = [["first", "second"], ["first", "third"], ["second", "last"], ["third", "last"]]
    table = Table(read_graph({"stages": stages, "edges": edges}), 0.3, 0.01)
    table.miss(table.row(20.0, 1.0).settings, 20.0, 1.0)

"""Given a pipeline that runs, when it is looked at each second, then what it needs is done, within what may be done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.control.actions import Decision, Scale, Set
from guidevane.control.guiding import Guide, Memory
from guidevane.control.journal import replayed, written
from guidevane.control.observation import HOT, LineSeen, MemberSeen, Observation, StageSeen
from guidevane.control.plant import Served
from guidevane.control.reading import read_graph
from guidevane.control.site import Movable, Site, as_deployed
from guidevane.errors import Misconfigured

SITE = Site(
    members=(Movable(name="quick", cpus=0.02), Movable(name="deep", cpus=0.02)), slo_s=0.4, epsilon=0.01, most=12
)
LATENCY = {"quick": (0.005, 0.001), "deep": (0.04, 0.02)}
STARTUP_S = 8.0


@dataclass
class Cluster:
    """A pipeline that does what it is told, replicas after their start; what queues is never late here."""

    replicas: dict[str, int] = field(default_factory=lambda: {"quick": 1, "deep": 1})
    launched: dict[str, list[float]] = field(default_factory=lambda: {"quick": [], "deep": []})
    running: dict[str, float] = field(default_factory=lambda: {"fetch_wait_s": 0.012, "max_batch": 64.0})
    slower: dict[str, float] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    deaf: dict[str, float] | None = None
    age_p99_s: float = 0.2
    missed: float = 0.0
    degraded: float = 0.0
    known: bool = True
    at_s: float = 1_000.0
    log: list[str] = field(default_factory=list)

    def seen(self, rate: float) -> Observation:
        self.at_s += 1.0
        half = int(rate / 2)
        batch = 4
        members = []
        lines = [LineSeen(name=name, fixed_s=0.0005, per_row_s=2e-5, batches=99.0) for name in HOT if name != HOT[2]]
        for name, (fixed, row) in LATENCY.items():
            factor = self.slower.get(name, 1.0)
            starting = [at for at in self.launched[name] if self.at_s - at < STARTUP_S]
            served = Served(batch, factor * (fixed + row * batch), max(2 * half // batch, 1))
            lines.append(LineSeen(name=name, fixed_s=factor * fixed, per_row_s=factor * row, batches=500.0))
            members.append(
                MemberSeen(
                    name=name,
                    replicas=self.replicas[name] if self.known else None,
                    ready=self.replicas[name] - len(starting),
                    starting=tuple(starting),
                    startup_s=STARTUP_S,
                    served=(served,),
                    waiting=rate * served.mean_s,
                    told=self.told.get(name),
                )
            )
        stages = tuple(
            StageSeen(
                name=name, fetches=name == HOT[0], records=500, rate_per_s=rate, lag_records=0.0, age_p50_s=0.1,
                age_p99_s=self.age_p99_s, running=self.deaf or self.running, settings=self.running,
            )
            for name in HOT
        )  # fmt: skip
        seen = Observation(
            at_us=int(self.at_s * 1e6), pipeline="p", counts=(half, half), ended=2 * half,
            missed=int(2 * half * self.missed), degraded=int(2 * half * self.degraded), stages=stages,
            members=tuple(members), lines=tuple(lines), way_s=0.02,
            expected_per_s=rate,
        )  # fmt: skip
        self.log.append(written(seen))
        return seen

    def do(self, decision: Decision) -> None:
        for act in decision.acts:
            if isinstance(act, Set):
                self.running = {**self.running, act.name: act.value}
            else:
                self.launched[act.member] += [self.at_s] * max(act.replicas - act.before, 0)
                self.replicas[act.member] = act.replicas


def steered(
    cluster: Cluster, rates: Iterable[float], guide: Guide, memory: Memory | None = None
) -> tuple[list[Decision], Memory]:
    told = []
    for rate in rates:
        decision, memory = guide(cluster.seen(rate), memory)
        cluster.do(decision)
        told.append(decision)
    assert memory is not None
    return told, memory


GUIDE = Guide(SITE)


def test_given_a_rate_that_triples_then_replicas_follow_and_the_decision_has_forecast_reason_and_alternatives() -> None:
    cluster = Cluster()
    _, memory = steered(cluster, [30.0] * 30, GUIDE)
    before = dict(cluster.replicas)
    told, _ = steered(cluster, [90.0] * 30, GUIDE, memory)

    assert cluster.replicas["deep"] > before["deep"]
    assert 90 * 0.02 < cluster.replicas["deep"] <= 12
    grown = [each for each in told if any(isinstance(act, Scale) for act in each.acts)]
    # The first of them has seen one second of the new rate.
    grew = max(grown, key=lambda each: each.ready_for_per_s or 0.0)
    assert grew.ready_for_per_s is not None
    assert grew.ready_for_per_s >= 60.0
    assert "events/s" in grew.reason
    assert grew.predicted_miss is not None
    assert grew.predicted_miss <= 0.01
    assert any(each.what == "stay as it is" and each.miss > 0.01 for decision in grown for each in decision.rejected)


@pytest.mark.parametrize(("quorum", "most_level", "less"), [(1, 1, True), (2, 1, False), (1, 0, False)])
def test_given_events_that_may_go_without_a_member_then_less_stands_ready_for_a_jump(quorum, most_level, less) -> None:
    site = replace(SITE, quorum=quorum, most_level=most_level)
    ready, bridged = (
        max(steered(Cluster(), [30.0] * 10, Guide(each))[1].steering.reserves)
        for each in (site, replace(site, bridge_share=0.05))
    )

    assert (bridged < ready) is less


@pytest.mark.parametrize(("level", "spent"), [(1.0, True), (0.0, False)])
def test_given_events_that_go_by_slack_without_a_member_then_they_are_of_what_jumps_may_take(level, spent) -> None:
    cluster, memory = Cluster(degraded=0.5), None
    for _ in range(15):
        cluster.running["level"] = level
        _, memory = steered(cluster, [30.0], GUIDE, memory)

    assert (memory.steering.misses > 0) is spent


def test_given_less_traffic_then_it_shrinks_later_and_never_while_events_are_late() -> None:
    cluster = Cluster()
    _, memory = steered(cluster, [60.0] * 40, GUIDE)
    many = cluster.replicas["deep"]
    cluster.missed = 0.5
    told, memory = steered(cluster, [10.0] * 900, GUIDE, memory)
    assert cluster.replicas["deep"] >= many
    assert "deep would shrink, but events are late" in told[-1].why

    cluster.missed = 0.0
    steered(cluster, [10.0] * 60, GUIDE, memory)
    assert cluster.replicas["deep"] < many


def test_given_what_was_recorded_when_it_is_replayed_then_the_decisions_are_the_same_to_the_byte() -> None:
    cluster = Cluster()
    told, _ = steered(cluster, [20.0] * 8 + [50.0] * 8 + [5.0] * 4, Guide(SITE))

    assert repr(list(replayed(Guide(SITE), cluster.log))) == repr(told)


def test_given_few_cores_then_no_replica_is_asked_for_beyond_them_and_the_reason_says_so() -> None:
    cluster = Cluster()
    site = replace(SITE, members=tuple(replace(each, cpus=1.0) for each in SITE.members), cpus=2.0)
    told, _ = steered(cluster, [200.0] * 20, Guide(site))

    assert cluster.replicas == {"quick": 1, "deep": 1}
    assert "replicas beyond 2 cores would only take them from each other" in told[-1].why


def test_given_a_person_who_set_the_replicas_then_that_number_is_made_and_kept() -> None:
    cluster = Cluster(told={"deep": 5})
    told, memory = steered(cluster, [10.0] * 3, GUIDE)
    assert cluster.replicas["deep"] == 5
    assert any("as a person set it" in act.reason for each in told for act in each.acts)

    steered(cluster, [80.0] * 30, GUIDE, memory)
    assert cluster.replicas["deep"] == 5


def test_given_replicas_that_nobody_knows_then_none_is_moved_and_the_hold_says_so() -> None:
    told, _ = steered(Cluster(known=False), [80.0] * 10, GUIDE)

    assert not [act for each in told for act in each.acts if isinstance(act, Scale)]
    assert "replicas of deep are not known" in told[-1].why


def test_given_a_pause_or_a_silent_stage_then_it_holds_says_so_and_takes_up_again() -> None:
    cluster = Cluster()
    _, memory = steered(cluster, [20.0] * 10, GUIDE)
    paused, memory = GUIDE(replace(cluster.seen(500.0), paused="by ada: roll-out"), memory)
    blind, memory = GUIDE(replace(cluster.seen(500.0), missing=("inference",)), memory)

    assert (paused.why, paused.held) == ("paused: by ada: roll-out", True)
    assert (blind.why, blind.held) == ("no telemetry from inference", True)
    told, _ = steered(cluster, [60.0] * 10, GUIDE, memory)
    assert any(isinstance(act, Scale) for each in told for act in each.acts)


def test_given_members_of_whom_nothing_is_known_then_nothing_is_planned_before_batches_were_seen() -> None:
    decision, _ = GUIDE(replace(Cluster().seen(20.0), lines=()), None)

    assert decision.why == "too few batches seen yet of quick, deep"
    assert not [act for act in decision.acts if isinstance(act, Scale)]


def test_given_a_member_that_is_overrun_and_hardly_ever_answers_then_a_few_batches_are_enough_to_plan_with() -> None:
    cluster, memory, told = Cluster(), None, []
    for _ in range(20):
        seen = cluster.seen(100.0)
        lines = tuple(replace(each, batches=4.0) for each in seen.lines)
        decision, memory = GUIDE(replace(seen, lines=lines), memory)
        cluster.do(decision)
        told.append(decision.why)

    assert told[5] == "too few batches seen yet of quick, deep"
    assert cluster.replicas["deep"] > 2


def test_given_a_model_that_gets_slower_then_it_gets_more_replicas_for_the_same_traffic() -> None:
    cluster = Cluster()
    _, memory = steered(cluster, [30.0] * 40, GUIDE)
    before = cluster.replicas["deep"]
    cluster.slower = {"deep": 2.0}
    steered(cluster, [30.0] * 60, GUIDE, memory)

    assert cluster.replicas["deep"] > before


def test_given_an_act_then_it_is_told_later_whether_it_took_and_what_it_did() -> None:
    cluster = Cluster()
    told, _ = steered(cluster, [20.0] * 20 + [60.0] * 40, GUIDE)
    effects = [effect for each in told for effect in each.effects if effect.subject == "deep"]
    assert effects
    assert effects[0].took
    assert effects[0].after_s >= STARTUP_S
    assert {"rate_per_s", "age_p99_s", "missed"} == set(effects[0].since)


def test_given_a_room_that_does_not_listen_then_what_was_set_is_told_as_not_in_force() -> None:
    cluster = Cluster(age_p99_s=0.1)
    _, memory = steered(cluster, [20.0] * 3, GUIDE)
    cluster.deaf = dict(cluster.running)
    told, _ = steered(cluster, [20.0] * 40, GUIDE, memory)

    asked = [act for each in told for act in each.acts if isinstance(act, Set) and act.name == "fetch_wait_s"]
    effects = [effect for each in told for effect in each.effects if effect.name == "fetch_wait_s"]
    assert asked
    assert effects[-1].value == asked[-1].value
    assert not effects[-1].took


SEEN = st.tuples(st.sampled_from([0.0, 30.0, 150.0]), st.floats(0.0, 1.0), st.booleans(), st.booleans())


BOUNDED = [Guide(replace(SITE, least=1, most=6, step=1)), Guide(replace(SITE, least=2, most=4, step=3))]


@settings(max_examples=6, deadline=None)
@given(st.lists(SEEN, min_size=5, max_size=40), st.sampled_from(BOUNDED))
def test_given_any_log_then_replicas_stay_within_bounds_and_no_step_is_too_large(log, guide) -> None:
    cluster, memory = Cluster(), None
    least, most, step = guide.site.least, guide.site.most, guide.site.step
    for rate, missed, known, lost in log:
        cluster.missed, cluster.known = missed, known
        seen = cluster.seen(rate)
        decision, memory = guide(replace(seen, missing=("ingest",)) if lost else seen, memory)
        assert decision.why
        for act in decision.acts:
            assert not lost
            if isinstance(act, Scale):
                assert known
                assert least <= act.replicas <= most
                assert 0 < abs(act.replicas - act.before) <= step
        cluster.do(decision)


def test_given_a_measured_profile_then_it_is_planned_with_and_one_of_another_pipeline_is_refused() -> None:
    stages = {"quick": {"latency_ms": {"1": 6, "64": 69}}, "deep": {"hardware": {"cpu": {"1": 60, "16": 360}, "x": 9}}}
    written_down = {"stages": stages, "edges": [], "hop_ms": 5}
    site = replace(SITE, measured=as_deployed(read_graph(written_down), SITE.names))
    cluster = Cluster()
    steered(cluster, [60.0] * 20, Guide(site))

    assert cluster.replicas["deep"] > 1
    with pytest.raises(Misconfigured, match="no trees"):
        as_deployed(read_graph(written_down), ("quick", "trees"))

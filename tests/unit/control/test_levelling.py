"""Given replicas that cannot answer all, then what waits is served by slack until they can again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from guidevane.control import plant
from guidevane.control.actions import Set
from guidevane.control.levelling import Pressure, levelled
from guidevane.control.observation import StageSeen
from guidevane.control.reading import read_graph
from guidevane.control.site import Movable, Site
from guidevane.control.waiting import Intents

# Ten rows in 100 ms: a hundred a second each.
GRAPH = read_graph({"stages": {name: {"latency_ms": {"1": 19, "10": 100}} for name in ("quick", "deep")}, "edges": []})
SITE = Site(members=(Movable(name="quick"), Movable(name="deep")), slo_s=0.3, epsilon=0.01)


@dataclass
class Room:
    """The inference room, told a level."""

    ready: int = 2
    starting: int = 0
    queue: int = 0
    level: float = 0.0
    by: str = ""
    site: Site = SITE
    at_s: float = 0.0
    intents: Intents = field(default_factory=Intents)
    words: tuple[str, ...] = ()

    def seconds(self, n: int, rate: float) -> list[Set]:
        found: list[Set] = []
        for _ in range(n):
            self.at_s += 1.0
            hardware = GRAPH.stages[0].hardware[0].name
            quick, deep = (
                plant.StageObservation(
                    name=name, arrivals=0, queue=queue, ready=ready, hardware=hardware, batch=10,
                    pending=(self.at_s + 5.0,) * starting,
                )
                for name, queue, ready, starting in (
                    ("quick", 0, 9, 0), ("deep", self.queue, self.ready, self.starting),
                )
            )  # fmt: skip
            view = plant.Observation(time_s=self.at_s, interval_s=1.0, counts=(), stages=(quick, deep))
            pressure = Pressure.of(self.site, GRAPH, view, rate, 10)
            stage = StageSeen(
                name="inference", fetches=False, records=100, settings={"level": self.level}, settings_by=self.by
            )
            acts, self.intents, self.words = levelled(
                self.site, stage, pressure, 1.2 * rate, int(self.at_s * 1e6), self.intents
            )
            for act in acts:
                self.level = act.value
            found += acts
        return found


def test_given_more_than_the_replicas_can_answer_then_the_level_is_raised_at_once_and_the_reason_has_the_forecast():
    (act,) = Room(starting=1).seconds(1, rate=250.0)

    assert (act.room, act.name, act.value, act.before) == ("inference", "level", 1.0, 0.0)
    assert act.reason == "250.0 events/s come, and 2 ready of deep, 1 starting answer 195.3; forecast 300.0"


def test_given_replicas_that_have_come_then_it_is_taken_back_when_that_has_lasted_and_nothing_waits() -> None:
    room = Room()
    room.seconds(5, rate=250.0)
    assert room.words == ("events are served by slack: deep is at its bound",)
    room.ready, room.queue = 4, 40
    assert room.seconds(60, rate=250.0) == []
    room.queue = 0
    assert room.seconds(15, rate=250.0) == []
    (back,) = room.seconds(5, rate=250.0)

    assert back.value == 0.0
    assert room.words == ()


def test_given_a_rate_between_calm_and_full_then_the_level_stays_as_it_is() -> None:
    low, high = Room(), Room(level=1.0)

    assert low.seconds(60, rate=175.0) == high.seconds(60, rate=175.0) == []


def test_given_a_backlog_alone_then_nothing_is_left_out() -> None:
    assert Room(queue=5_000).seconds(60, rate=50.0) == []


def test_given_members_without_a_replica_then_the_level_is_raised() -> None:
    assert [act.value for act in Room(ready=0).seconds(3, rate=10.0)] == [1.0]


def test_given_a_person_or_a_pipeline_that_forbids_it_then_the_level_is_left_alone() -> None:
    assert Room(by="ada").seconds(5, rate=500.0) == []
    assert Room(site=replace(SITE, most_level=0)).seconds(5, rate=500.0) == []


def test_given_a_pipeline_that_serves_by_slack_always_then_there_is_nothing_to_set() -> None:
    room = Room(level=1.0, site=replace(SITE, level=1))

    assert room.seconds(5, rate=500.0) == room.seconds(60, rate=1.0) == []


def test_given_a_level_that_a_person_left_behind_then_it_is_not_lowered_under_pressure() -> None:
    assert Room(level=2.0).seconds(5, rate=500.0) == []

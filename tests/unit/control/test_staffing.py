"""Given rooms that say how busy they are, then each has as many consumers as its work wants, in even shares."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from guidevane.control.actions import Set, Staff
from guidevane.control.observation import Observation, RoomSeen
from guidevane.control.site import Movable, Site
from guidevane.control.staffing import Posts, divisors, needed, staffed

SITE = Site(members=(Movable(name="deep"),), slo_s=0.3, epsilon=0.01, partitions=12, most_consumers=6)


@dataclass
class Cluster:
    """Whoever runs the rooms: does what it is told, unless it is stuck."""

    work: float = 0.3
    wanted: int | None = 1
    heard: int | None = None
    told: int | None = None
    told_by: str = ""
    stuck: bool = False
    late: bool = False
    growth: float = 1.0
    at_s: float = 0.0
    posts: Posts = field(default_factory=Posts)
    acts: list[tuple[float, Set | Staff]] = field(default_factory=list)
    words: tuple[str, ...] = ()

    def seconds(self, n: int) -> list[Set | Staff]:
        before = len(self.acts)
        for _ in range(n):
            self.at_s += 1.0
            heard = self.heard if self.heard is not None else self.wanted or 1
            room = RoomSeen(
                name="fused", heard=heard, busy=self.work, wanted=self.wanted, told=self.told, told_by=self.told_by
            )
            seen = Observation(at_us=int(self.at_s * 1e6), pipeline="p", rooms=(room,))
            acts, self.posts, self.words = staffed(
                SITE, seen, self.posts, rate_per_s=100.0, ready_for_per_s=100.0 * self.growth, late=self.late
            )
            for act in acts:
                self.acts.append((self.at_s, act))
                if isinstance(act, Set):
                    self.told = int(act.value)
                elif not self.stuck:
                    self.wanted = act.consumers
        return [act for _, act in self.acts[before:]]


def test_given_a_room_that_is_full_then_the_number_is_written_first_and_asked_for_next() -> None:
    cluster = Cluster(work=0.9)
    assert cluster.seconds(5) == []
    written, asked = cluster.seconds(2)

    assert isinstance(written, Set)
    assert (written.room, written.name, written.value) == ("fused", "consumers", 2.0)
    assert "0.90 s of work a second" in written.reason
    assert asked == Staff("fused", 2, 1, "as the control topic has it; 1 are heard")
    assert cluster.seconds(300) == []


def test_given_a_rate_to_be_ready_for_then_there_are_enough_for_it_and_not_only_for_now() -> None:
    cluster = Cluster(work=0.5, growth=2.0)
    cluster.seconds(10)

    assert cluster.wanted == 2


def test_given_more_and_more_work_then_each_change_waits_for_the_last_one() -> None:
    cluster = Cluster(work=0.9)
    cluster.seconds(10)
    cluster.work = 3.0
    cluster.seconds(20)
    assert cluster.words == ("fused would have 6 consumers, and was changed a moment ago",)
    cluster.seconds(30)

    assert cluster.wanted == 6


def test_given_little_work_then_one_divisor_at_a_time_is_given_up_slowly_and_none_while_events_are_late() -> None:
    cluster = Cluster(work=0.1, wanted=4, late=True)
    cluster.seconds(600)
    assert cluster.wanted == 4
    assert cluster.words == ("fused would have 3 consumers, but events are late",)
    cluster.late = False
    cluster.seconds(700)
    shrunk = [(at, act.consumers) for at, act in cluster.acts if isinstance(act, Staff)]

    assert [n for _, n in shrunk] == [3, 2, 1]
    assert all(later - earlier >= 300 for (earlier, _), (later, _) in pairwise(shrunk))


def test_given_a_number_that_is_not_known_then_nothing_is_done_and_the_hold_says_so() -> None:
    cluster = Cluster(work=5.0, wanted=None)

    assert cluster.seconds(60) == []
    assert cluster.words == ("consumers of fused are not known",)


def test_given_whoever_runs_the_rooms_does_nothing_then_it_is_asked_again_and_the_hold_says_so() -> None:
    cluster = Cluster(work=0.9, stuck=True)
    asked = [act for act in cluster.seconds(70) if isinstance(act, Staff)]

    assert [act.consumers for act in asked] == [2, 2, 2]
    assert cluster.words == ("fused was asked for 2 consumers and has 1",)


def test_given_a_consumer_that_is_not_heard_yet_then_no_further_one_is_wanted() -> None:
    cluster = Cluster(work=3.0, wanted=2, heard=1)

    assert cluster.seconds(60) == []
    assert cluster.words == ("fused would have 6 consumers, and 1 of 2 are heard",)


def test_given_a_person_who_set_a_number_then_it_is_made_at_once_and_kept() -> None:
    cluster = Cluster(work=0.05, told=3, told_by="ada")
    assert cluster.seconds(1) == [Staff("fused", 3, 1, "as ada set it; 1 are heard")]
    assert cluster.seconds(900) == []


def test_given_a_persons_number_that_does_not_divide_then_the_next_one_below_is_made_and_the_reason_says_so() -> None:
    cluster = Cluster(told=5, told_by="ada")
    (act,) = cluster.seconds(1)

    assert act == Staff("fused", 4, 1, "as ada set it (5, and 4 share 12 partitions evenly); 1 are heard")


def test_given_a_person_who_set_other_things_of_the_room_then_its_number_is_left_too() -> None:
    assert Cluster(work=5.0, told_by="ada").seconds(60) == []


def test_given_somebody_who_scaled_where_the_rooms_run_then_that_is_left_for_ten_minutes() -> None:
    cluster = Cluster(work=0.9)
    cluster.seconds(10)
    assert cluster.wanted == 2
    cluster.wanted, cluster.work = 4, 0.1

    assert cluster.seconds(590) == []
    assert cluster.words == ("fused was set to 4 consumers by somebody else: left for ten minutes",)
    cluster.seconds(200)
    assert cluster.wanted == 3


def test_given_a_controller_that_died_between_writing_and_asking_then_the_next_one_asks() -> None:
    cluster = Cluster(work=0.9, told=2)

    assert cluster.seconds(1) == [Staff("fused", 2, 1, "as the control topic has it; 1 are heard")]


def test_given_nobody_who_runs_more_then_nothing_is_looked_at() -> None:
    room = RoomSeen(name="fused", heard=1, busy=5.0)
    seen = Observation(at_us=1, pipeline="p", rooms=(room,))

    found = staffed(replace(SITE, most_consumers=1), seen, Posts(), rate_per_s=1.0, ready_for_per_s=1.0, late=False)
    assert found == ((), Posts(), ())


@given(st.floats(0, 40), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_given_any_work_then_the_number_divides_is_within_bounds_and_never_less_for_more(work, partitions, most, now):
    able = divisors(partitions, most)
    found = needed(work, able, now)

    assert found in able or found == now
    assert needed(work + 1, able, now) >= found

"""Given what is known of members' times and of groups' shares, then who is asked and who goes without is so decided."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.services.event_by_event import Member, choose
from tests.unit.services.overload import PIPELINE

from guidevane.control.ladder import Choice, Timed, steps
from guidevane.services.inference.dispatch import Dispatch
from guidevane.services.inference.expecting import Band, Call, Expecting, Took
from guidevane.services.inference.shares import Shares
from guidevane.services.inference.triage import Knobs, Triage
from guidevane.services.inference.waiting import Queue, Waiting
from guidevane.testing import ManualClock

TIMES = st.floats(0.001, 1.0)


@given(
    st.lists(st.tuples(TIMES, TIMES, st.floats(0.1, 1.0)), min_size=1, max_size=5, unique_by=lambda each: each[0]),
    st.integers(1, 5), st.floats(-0.5, 2.5), st.booleans(),
)  # fmt: skip
def test_given_a_host_for_each_member_then_the_steps_say_what_is_chosen_event_by_event(
    members: list[tuple[float, float, float]], quorum: int, slack_s: float, rule: bool
) -> None:
    quorum = min(quorum, len(members))
    waits_s = {str(index): wait_s for index, (wait_s, _, _) in enumerate(members)}
    timed = [Timed(str(i), str(i), busy_s, accuracy) for i, (_, busy_s, accuracy) in enumerate(members)]
    plain = [Member(each.name, each.accuracy, waits_s[each.host] + each.busy_s) for each in timed]

    ladder = steps(timed, waits_s, quorum=quorum, rule=rule)
    chosen = next(step.choice for step in ladder if slack_s >= step.needs_s)

    assert chosen == choose(slack_s, plain, quorum=quorum, rule=rule)
    assert all(a.needs_s > b.needs_s for a, b in itertools.pairwise(ladder))


def test_given_members_that_share_a_host_then_the_one_that_adds_least_per_second_goes_first() -> None:
    together = [Timed("wide", "h", 0.01, 0.7), Timed("deep", "h", 0.08, 0.75), Timed("trees", "h", 0.02, 0.8)]

    ladder = steps(together, {"h": 0.005}, quorum=1)

    assert [step.choice.members for step in ladder] == [("wide", "deep", "trees"), ("wide", "trees"), ("wide",), ()]
    assert [round(step.needs_s, 3) for step in ladder[:3]] == [0.115, 0.035, 0.015]


GROUPS = st.fixed_dictionaries({"sex": st.sampled_from("fm"), "race": st.sampled_from("abc")})


@given(st.lists(st.tuples(GROUPS, st.booleans()), max_size=300), st.floats(0.0, 0.3))
def test_given_any_events_that_someone_would_shed_then_no_group_is_shed_beyond_the_bound(
    wanted: list[tuple[dict[str, str], bool]], bound: float
) -> None:
    shares = Shares(bound)

    for protected, would_shed in wanted:
        without = would_shed and shares.may(protected)
        shares.note([protected], without=without)
        if without:
            assert all(shares.of(*each) <= shares.overall + bound + 1e-9 for each in protected.items())


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.01), st.lists(st.integers(1, 512), min_size=2, max_size=60))
def test_given_times_on_a_line_then_the_line_is_found_and_never_falls(
    base_s: float, per_row_s: float, sizes: list[int]
) -> None:
    line = Band()
    for rows in sizes:
        line.learn(rows, base_s + per_row_s * rows)

    assert line.mean(max(sizes)) == pytest.approx(base_s + per_row_s * max(sizes), rel=0.02, abs=1e-9)
    assert line.mean(600) >= line.mean(1) - 1e-12


def asked(expecting: Expecting, rows: int, took_s: float, busy_s: float, at_s: float = 0.0) -> None:
    call = expecting.send(["quick", "deep"], rows, at_s)
    expecting.back(call, at_s + took_s)
    took = {"quick": Took(0.01, 0.005, rows), "deep": Took(took_s, busy_s, rows)}
    expecting.learn(call, took, at_s + took_s)


def test_given_a_member_that_was_slow_once_and_is_not_asked_then_it_is_believed_to_be_quicker_by_and_by() -> None:
    expecting = Expecting(PIPELINE.ensemble)
    for _ in range(20):
        asked(expecting, 8, took_s=1.0, busy_s=0.02)

    at_once, later = (expecting.waits_s(now_s)["deep"] for now_s in (1.0, 9.0))

    assert at_once > 0.9
    assert later < 0.1


def test_given_calls_that_queue_then_one_stands_ready_and_no_more() -> None:
    expecting = Expecting(PIPELINE.ensemble)
    asked(expecting, 8, took_s=0.02, busy_s=0.02)

    sent = []
    while expecting.open(["deep"], 8):
        sent.append(expecting.send(["deep"], 8, 1.0))
    expecting.back(sent[0], 1.1)

    assert len(sent) == 2
    assert expecting.open(["deep"], 8)


def shared(
    rows: int, *, deep: int, quick: int, busy: int = 0, per_row_s: float = 0.1, quick_row_s: float = 0.001
) -> int:
    """Return in how many calls so many rows go, with so many replicas of each, so many of them busy."""
    expecting = Expecting(PIPELINE.ensemble)
    expecting.replicas = {"deep": deep, "quick": quick}.__getitem__
    for size in (1, 2, 4, 8) * 5:
        expecting.computed("deep", size, 0.1 + per_row_s * size)
        expecting.computed("quick", size, 0.02 + quick_row_s * size)
    for _ in range(busy):
        expecting.send(PIPELINE.ensemble.names, 1, 0.0)
    return expecting.shared(PIPELINE.ensemble.names, rows, calls=64)


def test_given_replicas_that_idle_then_what_comes_together_is_shared_among_them() -> None:
    assert shared(8, deep=8, quick=8) == 8
    assert shared(4, deep=8, quick=8) == 4
    # Twenty in eight calls are no sooner answered than in seven.
    assert shared(20, deep=8, quick=8) == 7
    # Who is busy takes no share, nor who does not exist.
    assert shared(8, deep=8, quick=8, busy=6) == 2
    assert shared(8, deep=8, quick=8, busy=8) == shared(8, deep=1, quick=1) == 1


def test_given_a_quick_member_with_few_replicas_then_calls_are_no_more_than_save_time() -> None:
    # One replica of the quick member takes 52 ms for all 32, whoever puts them together: nobody waits for it.
    assert shared(32, deep=32, quick=1) == 32
    # Here it takes 660, in which deep answers batches of five.
    assert shared(32, deep=32, quick=1, quick_row_s=0.02) == 7


def test_given_rows_that_cost_next_to_nothing_then_one_call_takes_them_all() -> None:
    assert shared(8, deep=8, quick=8, per_row_s=0.0001) == 1


def waiting(*slack_s: float, waited: bool = True) -> Queue[int]:
    queue = Queue[int]()
    items = [Waiting(round((each + 0.02) * 1e6), {}, waited, False) for each in slack_s]
    queue.add(items, range(len(items)))
    return queue


def triage(level: int = 1, max_batch: int = 8) -> Triage:
    expecting = Expecting(PIPELINE.ensemble)
    for rows in (1, 2, 4, 8) * 10:
        asked(expecting, rows, took_s=0.02 + 0.01 * rows, busy_s=0.02 + 0.01 * rows)
    return Triage(PIPELINE, expecting, Knobs(max_batch=max_batch, level=level))


def test_given_some_that_would_be_late_in_a_large_batch_then_the_batch_is_that_in_which_the_most_are_in_time() -> None:
    # Eight rows take 0.1 s, four take 0.06 s.
    picked = triage()(waiting(*[0.07] * 5, *[0.2] * 2), 0, 1.0, under_way=0)

    assert (list(picked.batch), picked.choice.rung, list(picked.shed)) == ([0, 1, 2, 3], "full", [])


def test_given_some_without_time_then_those_that_waited_are_shed_and_those_that_did_not_are_asked() -> None:
    shed = triage()(waiting(-0.5, 0.01, 0.5), 0, 1.0, under_way=0)
    spared = triage()(waiting(-0.5, waited=False), 0, 1.0, under_way=0)

    assert (sorted(shed.shed), list(shed.batch)) == ([0, 1], [2])
    assert (list(spared.shed), list(spared.batch)) == ([], [0])


def test_given_events_that_go_without_a_member_then_members_are_pressed_for_a_second_after() -> None:
    pick = triage()
    pick(waiting(0.5), 0, 1.0, under_way=0)
    assert not pick.pressed(1.0)

    pick(waiting(-0.5, 0.5), 0, 2.0, under_way=0)

    assert (pick.pressed(2.9), pick.pressed(3.1)) == (True, False)


def test_given_events_that_the_quick_member_answers_alone_then_members_are_pressed() -> None:
    ensemble = replace(PIPELINE.ensemble, quorum=1)
    pick = Triage(replace(PIPELINE, ensemble=ensemble), expecting := Expecting(ensemble), Knobs(level=1))
    slow, quick = (each.name for each in ensemble.members)
    expecting.computed(slow, 1, 0.5)
    expecting.computed(quick, 1, 0.001)

    picked = pick(waiting(0.1), 0, 1.0, under_way=0)

    assert (picked.choice.members, pick.pressed(1.0)) == ((quick,), True)


def test_given_members_of_other_tiles_then_a_batch_ends_with_a_whole_one_of_the_slowest() -> None:
    slow, quick = (replace(each, tile=tile) for each, tile in zip(PIPELINE.ensemble.members, (4, 64), strict=True))
    pipeline = replace(PIPELINE, ensemble=replace(PIPELINE.ensemble, members=(slow, quick)))
    expecting = Expecting(pipeline.ensemble)
    for name, busy_s in ((slow.name, 0.05), (quick.name, 0.001)):
        expecting.computed(name, 7, busy_s)

    picked = Triage(pipeline, expecting, Knobs(level=1))(waiting(*[0.5] * 7), 0, 1.0, under_way=0)

    assert list(picked.batch) == [0, 1, 2, 3]


class Answers:
    """Doubles numbers; fails on the row that it is told to fail on."""

    def __init__(self, fails: int | None = None) -> None:
        self.fails = fails
        self.batches: list[int] = []
        self.go = asyncio.Event()

    async def asked(self, items: Sequence[Waiting], choice: Choice, call: Call) -> list[int]:
        self.batches.append(len(items))
        await self.go.wait()
        if any(each.deadline_us == self.fails for each in items):
            raise ValueError(self.fails)
        return [2 * each.deadline_us for each in items]

    def unasked(self, items: Sequence[Waiting], choice: Choice) -> list[int]:
        raise AssertionError("nobody is shed at level 0")


def numbers(start: int, stop: int) -> list[Waiting]:
    return [Waiting(each, {}, False, False) for each in range(start, stop)]


def test_given_a_controller_that_said_how_many_calls_then_no_more_leave_whatever_the_members_seem_to_bear() -> None:
    for level in (0, 1):
        open_, told = (
            Triage(PIPELINE, Expecting(PIPELINE.ensemble), Knobs(max_batch=4, calls=1, level=level, told=told))
            for told in (False, True)
        )
        events = waiting(0.5, 0.5)

        assert told(events, 0, 1.0, under_way=0).batch
        for room in (open_, told):
            room.expecting.send(PIPELINE.ensemble.names, 2, 1.0)
        assert open_(events, 0, 1.0, under_way=1).batch
        assert not told(events, 0, 1.0, under_way=1).batch


def test_given_a_slow_member_with_enough_to_do_then_who_goes_without_it_does_not_wait_for_it() -> None:
    ensemble = replace(PIPELINE.ensemble, quorum=1)
    expecting = Expecting(ensemble)
    pick = Triage(replace(PIPELINE, ensemble=ensemble), expecting, Knobs(max_batch=4, calls=1, level=1, told=True))
    for _ in range(9):
        asked(expecting, 1, took_s=0.5, busy_s=0.5)
    call = expecting.send(ensemble.names, 1, 9.0)
    expecting.heard(call, "quick", 9.005)

    assert not pick(waiting(2.0), 0, 9.01, under_way=1).batch
    assert pick(waiting(0.1), 0, 9.01, under_way=1).choice.members == ("quick",)


@given(st.data())
def test_a_queue_is_what_a_list_would_be(data: st.DataObject) -> None:
    """Whoever is added, spared, or leaves: the columns say what the items do, in the order in which they came."""
    queue, wanted, came = Queue[tuple[str, int]](), list[tuple[str, int]](), 0
    items: dict[tuple[str, int], Waiting] = {}
    for deed in data.draw(
        st.lists(st.sampled_from(["add", "leave", "first", "spare", "stand", "forget"]), max_size=20)
    ):
        if deed == "add":
            flight = data.draw(st.sampled_from("ab"))
            new = {(flight, came + at): Waiting(data.draw(st.integers(0, 9)), {}, False, False) for at in range(3)}
            came += 3
            queue.add(list(new.values()), list(new))
            wanted += new
            items |= new
        elif deed == "leave" and wanted:
            places = data.draw(st.lists(st.sampled_from(range(len(wanted))), unique=True))
            gone = [wanted[place] for place in places]
            assert queue.leave(places) == gone
            wanted = [each for each in wanted if each not in gone]
        elif deed == "first":
            assert queue.leave(queue.first(2)) == wanted[:2]
            wanted = wanted[2:]
        elif deed == "spare" and wanted:
            queue.spare(data.draw(st.sampled_from(range(len(wanted)))))
        elif deed == "stand":
            queue.stand()
            assert all(items[each].waited for each in wanted)
        elif deed == "forget":
            queue.leave_where(lambda owner: owner[0] == "a")
            wanted = [each for each in wanted if each[0] != "a"]
        assert [queue.owner(place) for place in range(len(queue))] == wanted
        standing = [items[each] for each in wanted]
        assert [queue[place] for place in range(len(queue))] == standing
        assert queue.deadline_us.tolist() == [each.deadline_us for each in standing]
        assert queue.waited.tolist() == [each.waited for each in standing]
        assert queue.spared.tolist() == [each.spared for each in standing]


def dispatch(answers: Answers) -> Dispatch[Waiting, int]:
    pick = Triage(PIPELINE, Expecting(PIPELINE.ensemble), Knobs(max_batch=100, calls=1))
    while pick.free(pick.knobs.calls):
        # As many as the members can take are under way already.
        pick.expecting.send(PIPELINE.ensemble.names, 1, 0.0)
    return Dispatch(answers, pick, ManualClock())


async def test_given_flights_that_wait_for_a_call_then_they_go_together_and_each_gets_its_own_answers() -> None:
    answers = Answers()
    room = dispatch(answers)
    flights = [asyncio.create_task(room.answer(numbers(10 * n, 10 * n + n + 1))) for n in range(5)]
    await asyncio.sleep(0)
    answers.go.set()

    assert [await each for each in flights] == [[2 * (10 * n + i) for i in range(n + 1)] for n in range(5)]
    assert answers.batches == [1, 2 + 3 + 4 + 5]


async def test_given_a_bug_in_one_flight_then_no_other_flight_fails() -> None:
    answers = Answers(fails=21)
    room = dispatch(answers)
    flights = [asyncio.create_task(room.answer(numbers(10 * n, 10 * n + 3))) for n in range(4)]
    await asyncio.sleep(0)
    answers.go.set()

    found = await asyncio.gather(*flights, return_exceptions=True)

    assert [isinstance(each, ValueError) for each in found] == [False, False, True, False]


async def test_given_flights_that_are_given_up_then_nobody_is_asked_for_them() -> None:
    answers = Answers()
    room = dispatch(answers)
    flights = [asyncio.create_task(room.answer(numbers(10 * n, 10 * n + 3))) for n in range(3)]
    await asyncio.sleep(0)
    flights[1].cancel()
    await asyncio.sleep(0)
    answers.go.set()

    assert await flights[2] == [40, 42, 44]
    assert answers.batches == [3, 3]

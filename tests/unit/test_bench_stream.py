"""What the load test says must be true: the same work, nothing overlooked, nobody's CPU forgotten."""

import doctest
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import fastavro
import numpy as np
import pytest
from loadtests.stream import answers, events, processes, report, soak
from loadtests.stream.answers import match
from loadtests.stream.broker import Answer
from loadtests.stream.drawing import draw
from loadtests.stream.events import encoded
from loadtests.stream.field import FIELD
from loadtests.stream.whole import Whole
from loadtests.stream.work import Work

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.local.process import MARK
from guidevane.pipelines.employment import pipeline
from guidevane.runtime.deadletter import CAUSE
from guidevane.services.ingest.persons import Pseudonyms
from guidevane.testing import ManualClock, run_pipeline
from guidevane.topics import Topics

CODEC = Codec(Catalogue([pipeline.event]))
TOPICS = Topics("whole")
NOW_US = ManualClock().now_us()
SECRET = b"test" * 8  # that of the rooms in run_pipeline
HOT = {"accepted": "accepted", "features": "features", "predictions": "prediction", "decisions": "decision"}
# What a wall clock measures, and how many were together.
MEASURED = {"ingested_at_us", "batch_size", "queued_us"}


@pytest.fixture(scope="module")
def work() -> Work:
    return Work(tiled=True)


async def test_the_bare_loop_writes_the_very_bytes_that_our_rooms_write(work):
    clock = ManualClock()
    sent = [each.value for each in encoded("same", clock.now_us() - np.arange(100) * 1_000, partitions=12)]
    ours = await run_pipeline(pipeline, sent, clock=clock)
    written = {r.header("event_id").decode(): r.value for r in ours.log.records(pipeline.topics.decisions)}
    assert {decided.event_id: decided.value for decided in work(sent)} == written


def came(values, *, partition=0, start=0):
    return [(partition, start + at, b"key", value) for at, value in enumerate(values)]


def content(records):
    """What each record of a hot topic holds but for what a clock measures, with its key, by event id."""
    found = {}
    for name, contract in HOT.items():
        decode = CODEC.decoder(contract)
        for key, value in records[name]:
            body = {field: said for field, said in decode(value).items() if field not in MEASURED}
            for member in body.get("members", ()):
                assert member.pop("latency_us") >= 0
            assert (name, body["event_id"]) not in found
            found[name, body["event_id"]] = key, body
    return found


async def test_who_does_the_whole_work_writes_what_our_rooms_write_on_all_four_topics(work):
    clock = ManualClock()
    sent = [each.value for each in encoded("same", clock.now_us() - np.arange(100) * 1_000, partitions=12)]
    ours = await run_pipeline(pipeline, sent, clock=clock)
    topics = {name: getattr(pipeline.topics, name) for name in HOT}
    rooms = content({name: [(r.key, r.value) for r in ours.log.records(topic)] for name, topic in topics.items()})
    written = Whole(TOPICS, work, secret=SECRET)(came(sent, partition=7))
    assert {partition for _, partition in written} == {7}
    theirs = content({name: [each[:2] for each in written[getattr(TOPICS, name), 7]] for name in HOT})
    assert len(theirs) == 400
    assert theirs == rooms


def test_given_an_event_again_then_the_whole_work_drops_it_whatever_its_batch_and_partition(work):
    sent = [each.value for each in encoded("run", np.full(5, NOW_US), partitions=12)]
    whole = Whole(TOPICS, work)
    first = whole(came([*sent[:3], sent[1]]))
    assert [len(first[getattr(TOPICS, name), 0]) for name in HOT] == [3, 3, 3, 3]
    again = whole([*came(sent[:3], start=4), *came(sent[:4], partition=1)])
    assert {place: len(records) for place, records in again.items()} == {(getattr(TOPICS, name), 1): 1 for name in HOT}
    assert whole(came(sent[:4], start=7)) == {}
    whole.forget()
    assert len(whole(came(sent[:4]))[TOPICS.decisions, 0]) == 4


def test_given_events_without_an_id_then_their_places_are_their_ids(work):
    event = work.read(encoded("run", np.full(1, NOW_US), partitions=12)[0].value)
    value = CODEC.encoder(pipeline.event.name)({**event, "event_id": None})
    whole = Whole(TOPICS, work)
    assert len(whole(came([value, value]))[TOPICS.decisions, 0]) == 2
    assert whole(came([value, value])) == {}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"age": 1 << 40}, "out_of_range"),
        ({"year": -(1 << 31) - 1}, "out_of_range"),
        ({"person_id": ""}, "empty_key"),
        ({"person_id": "p" * 65_537}, "too_long"),
        ({"event_id": "e" * 257}, "bad_event_id"),
        ({"observed_at_us": NOW_US // 1_000}, "bad_time"),
        ({"observed_at_us": NOW_US * 1_000}, "bad_time"),
    ],
    ids=str,
)
async def test_given_an_event_that_our_contract_refuses_then_it_is_a_dead_letter_with_its_bytes(work, change, cause):
    good, other = (each.value for each in encoded("run", np.full(2, NOW_US), partitions=12))
    # As another language's writer might: this one takes a number for an int that is none.
    wide = json.loads(json.dumps(pipeline.event.history[1]).replace('"int"', '"long"'))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, wide, {**work.read(good), **change})
    bad = good[:5] + out.getvalue()
    (letter,) = (await run_pipeline(pipeline, [bad])).dead_letters
    assert letter["exception.class"] == cause
    written = Whole(TOPICS, work)(came([bad, other]))
    assert written[TOPICS.dlq, 0] == [(b"key", bad, [(CAUSE, cause.encode())])]
    assert len(written[TOPICS.decisions, 0]) == 1


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda value: value[:-3], b"malformed"),
        (lambda value: value + b"\0", b"trailing_bytes"),
        (lambda value: b"\0\0\0\0\7" + value[5:], b"unknown_schema"),
        (lambda value: value[:5] + b"\4\xff\xff" + value[8:], b"malformed"),
        (lambda _: None, b"empty"),
    ],
)
def test_given_what_is_no_event_then_it_is_a_dead_letter_with_its_bytes(work, spoil, cause):
    bad = spoil(encoded("run", np.full(1, NOW_US), partitions=12)[0].value)
    assert Whole(TOPICS, work)(came([bad])) == {(TOPICS.dlq, 0): [(b"key", bad, [(CAUSE, cause)])]}


def test_the_pseudonym_is_the_key_and_the_person_stands_nowhere(work):
    (sent,) = encoded("run", np.full(1, NOW_US), partitions=12)
    person = work.read(sent.value)["person_id"]
    written = Whole(TOPICS, work, secret=SECRET)(came([sent.value]))
    records = [written[getattr(TOPICS, name), 0][0] for name in HOT]
    assert {key for key, _, _ in records} == {Pseudonyms(SECRET)(person).encode()}
    assert not any(person.encode() in value for _, value, _ in records)
    assert work.read(CODEC.decoder("accepted")(records[0][1])["event"])["person_id"] == Pseudonyms(SECRET)(person)


def test_who_does_the_whole_work_has_the_topics_of_our_hot_path_and_all_others_two():
    by_name = {each.name: each for each in FIELD}
    whole = {name for name, each in by_name.items() if each.beside}
    assert whole == {f"{name}_whole" for name in ("bare", "faststream", "quix", "faust", "bytewax")}
    assert by_name["quix_whole"].beside == tuple(
        f"quix_whole.{name}" for name in ("accepted", "features", "predictions", "dlq")
    )
    assert (by_name["quix"].events, by_name["quix"].decisions) == ("quix.events", "quix.decisions")


def test_members_called_with_whole_batches_decide_as_members_called_in_tiles_do(work):
    rows = work.matrix(work.warm_up_events())
    assert np.allclose(work.scores(rows), Work().scores(rows), atol=1e-6)


def test_an_answer_that_misses_and_one_that_comes_twice_are_both_told(work):
    wanted = work([each.value for each in encoded("run", np.zeros(3, np.int64), partitions=12)])
    strange = work([each.value for each in encoded("other", np.zeros(1, np.int64), partitions=12)])
    read = [Answer(7_000, each.value) for each in [wanted[0], wanted[2], wanted[2], *strange]]
    found = match(read, "run", 3, decides=True)
    assert (found.lost, found.duplicated, found.foreign, found.full) == (1, 1, 1, 2)
    assert found.at_us.tolist() == [7_000, 0, 7_000]


def test_the_cpu_of_a_child_that_has_ended_is_still_counted(tmp_path):
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", parent],
        env={MARK: str(tmp_path.resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        assert sum(processes.cpu_s(tmp_path).values()) >= 0.3
        assert sum(processes.rss_bytes(tmp_path).values()) > 0
    finally:
        child.kill()
        child.communicate()
    assert processes.cpu_s(tmp_path) == {}


def test_who_could_not_keep_up_is_drawn_without_a_latency():
    slow = {"latency_ms": {"p99": 20_000.0}, "bounded": False}
    good = {"latency_ms": {"p99": 80.0}, "bounded": True}
    svg = draw({"fused": {"fixed": [good]}, "faust": {"fixed": [slow]}}, "2 cores & a broker")
    drawn = ET.fromstring(svg)  # noqa: S314 - our own text
    words = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    assert "80" in words
    assert "20,000" not in words
    assert words[-1] == "2 cores & a broker"


def test_the_summary_holds_the_figures_that_readers_look_for():
    def drained(per_cpu: float) -> dict[str, float]:
        return {"events_per_cpu_s": per_cpu, "events_per_s": 2 * per_cpu}

    fixed = [{"latency_ms": {"p99": ms}, "rate_per_s": 500.0} for ms in (80.0, 90.0, 500.0)]
    held = [{"rate_per_s": 3000.0, "bounded": True}, {"rate_per_s": 4000.0, "bounded": False}]
    found = report.summary(
        {
            "bare": {"drain": [drained(10_000.0), drained(12_000.0)]},
            "fused": {"drain": [drained(5_500.0)], "fixed": fixed, "sustained": held},
            "faust": {"drain": [drained(2_000.0)], "fixed": fixed},
            "bare_whole": {"drain": [drained(6_875.0)]},
            "faust_whole": {"drain": [drained(1_000.0)]},
            "quix": {"failed": [{"why": "it did not start"}]},
        }
    )
    assert found["cpu_ratio_fused"] == 0.5
    assert found["events_per_s_fused"] == 3000.0
    assert found["p99_ms_at_500_fused"] == 90.0
    assert found["cpu_ratio_fused_of_whole"] == 0.8
    assert found["peers"] == {"faust": 2_000.0, "faust_whole": 1_000.0}
    assert found["peers_drained_per_s"] == {"faust": 4_000.0, "faust_whole": 2_000.0}
    assert found["peers_p99_ms_at_500"] == {"faust": 90.0}


def test_given_another_fixed_rate_then_the_figure_is_named_after_it():
    fixed = [{"latency_ms": {"p99": 310.0}, "rate_per_s": 4500.0}]

    assert report.summary({"fused": {"fixed": fixed}}) == {"p99_ms_at_4500_fused": 310.0, "peers": {}}


@pytest.mark.parametrize("module", [answers, events, processes, soak], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed

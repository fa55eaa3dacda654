"""What the load test says must be true: the same work, nothing overlooked, nobody's CPU forgotten."""

import doctest
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from loadtests.stream import answers, events, processes, report, soak
from loadtests.stream.answers import match
from loadtests.stream.broker import Answer
from loadtests.stream.drawing import draw
from loadtests.stream.events import encoded
from loadtests.stream.work import Work

from guidevane.local.process import MARK
from guidevane.pipelines.employment import pipeline
from guidevane.testing import ManualClock, run_pipeline


@pytest.fixture(scope="module")
def work() -> Work:
    return Work(tiled=True)


async def test_the_bare_loop_writes_the_very_bytes_that_our_rooms_write(work):
    clock = ManualClock()
    sent = [each.value for each in encoded("same", clock.now_us() - np.arange(100) * 1_000, partitions=12)]
    ours = await run_pipeline(pipeline, sent, clock=clock)
    written = {r.header("event_id").decode(): r.value for r in ours.log.records(pipeline.topics.decisions)}
    assert {decided.event_id: decided.value for decided in work(sent)} == written


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
        }
    )
    assert found["cpu_ratio_fused"] == 0.5
    assert found["events_per_s_fused"] == 3000.0
    assert found["p99_ms_at_500_fused"] == 90.0
    assert found["peers"]["faust"]["events_per_cpu_s"] == 2_000.0
    assert found["peers"]["faust"]["p99_ms_at_500"] == 90.0


def test_given_another_fixed_rate_then_the_figure_is_named_after_it():
    fixed = [{"latency_ms": {"p99": 310.0}, "rate_per_s": 4500.0}]

    assert report.summary({"fused": {"fixed": fixed}}) == {"p99_ms_at_4500_fused": 310.0, "peers": {}}


@pytest.mark.parametrize("module", [answers, events, processes, soak], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed

"""The command line: it imports what it uses, tells every mistake at once, and its exit code says how it went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import guidevane

SRC = Path(guidevane.__file__).parents[1]
CLIENTS = ("ray", "torch", "river", "aiokafka", "fastapi", "uvicorn", "xgboost")
SLOW = (*CLIENTS, "numpy", "pydantic")

BROKEN = """
from guidevane import Clip, Ensemble, Event, Latency, Member, OneHot, Pipeline, Standardise, Threshold, WeightedMean

PING = {
    "type": "record",
    "name": "net.ping",
    "fields": [
        {"name": "host", "type": "string"},
        {"name": "rtt_ms", "type": "double"},
        {"name": "region", "type": "string"},
    ],
}

pipeline = Pipeline(
    name="ping",
    event=Event("net.ping.v1", schema=PING, key="hosts", protected=("region",), pii=("rtt_ms",)),
    features=(Clip("rtt", low=5, high=1), Standardise("rtt_ms", mean=0.0, std=0.0), OneHot("region", ("eu", "us"))),
    ensemble=Ensemble(
        members=(Member("fast", model="models:/fast@champion"), Member("Slow", model="nowhere", tile=0)),
        combine=WeightedMean((1, 2, 3)),
        quorum=3,
    ),
    decision=Threshold(at=1.5),
    slo=Latency(p=0.99, within_ms=-1, withn=3),
    monitors=("drift",),
)
"""
MISTAKES = {
    "event.key": "write 'host'",
    "event.pii[0]": "must be a string, to hold the pseudonym",
    "features[0].low": "swap them",
    "features[0].field": "write 'rtt_ms'",
    "features[1].std": "",
    "features[2].field": "remove the feature, or the declaration",
    "ensemble.members[0].model": "write models=Path(__file__).parent / 'models'",
    "ensemble.members[1].name": "",
    "ensemble.members[1].tile": "",
    "ensemble.quorum": "1 to 2",
    "ensemble.combine.weights": "one a member",
    "decision.at": "",
    "slo.within_ms": "",
    "slo.withn": "write 'within_ms'",
    "monitors[0]": "see guidevane.monitors",
}


def python(folder: Path, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def guidevane_in(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "from guidevane.cli import main; main()", *args)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("author")
    (folder / "broken.py").write_text(BROKEN)
    return folder


def test_given_the_command_line_when_it_is_imported_then_no_client_and_no_framework_is(tmp_path):
    done = python(tmp_path, f"import sys, guidevane.cli; print([name for name in {SLOW!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_given_check_of_a_pipeline_when_it_is_done_then_no_client_and_no_framework_was_needed(folder):
    check = "import sys; from guidevane.loading import examine; examine('broken')"
    done = python(folder, f"{check}; print([name for name in {CLIENTS!r} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_given_help_then_every_command_has_its_line(tmp_path):
    done = guidevane_in(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("demo", "up", "down", "check", "new", "topics", "dlq", "schemas", "version"):
        assert f"\n  {command} " in done.stdout, command


def test_given_a_module_with_many_mistakes_then_all_are_told_at_once_each_with_its_path(folder):
    done = guidevane_in(folder, "check", "broken")
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert done.returncode == 1
    assert {path: told.get(path, "nothing") for path in MISTAKES if path not in told} == {}
    for path, advice in MISTAKES.items():
        assert told[path].endswith(advice), path
    assert told["broken"] == f"{len(told) - 1} mistakes"


def test_given_the_same_module_when_asked_for_json_then_each_line_is_one_mistake(folder):
    done = guidevane_in(folder, "check", "broken", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert {each["path"] for each in told} >= set(MISTAKES)
    assert all(set(each) == {"path", "says", "instead"} and each["says"] for each in told)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nowhere", "there is no module 'nowhere' → examples: electricity, employment"),
        ("broken:pipelne", "broken: 'pipelne' is not there → write 'pipeline'"),
    ],
)
def test_given_a_reference_that_leads_nowhere_then_it_says_which_part(folder, reference, says):
    done = guidevane_in(folder, "check", reference)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_given_a_module_that_raises_then_the_authors_own_line_is_named(folder):
    (folder / "raising.py").write_text("first = 1\nsecond = first / 0\n")
    done = guidevane_in(folder, "check", "raising")
    assert done.returncode == 1
    assert "raising.py:2: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


def test_given_a_module_that_misses_a_library_then_the_library_is_named_not_the_module(folder):
    (folder / "wanting.py").write_text("import no_such_library\n")
    done = guidevane_in(folder, "check", "wanting")
    assert done.returncode == 1
    assert "wanting.py:1: ModuleNotFoundError: No module named 'no_such_library'" in done.stderr


def test_given_a_new_pipeline_then_check_finds_nothing_and_says_what_it_does(tmp_path):
    assert guidevane_in(tmp_path, "new", "fraud").returncode == 0
    done = guidevane_in(tmp_path, "check", "fraud")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fraud: no mistakes.")


@pytest.mark.parametrize("args", [("chek",), ("up", "nowhere"), ("new", "1st")])
def test_given_a_command_that_cannot_be_done_then_one_message_and_code_two(folder, args):
    done = guidevane_in(folder, *args)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_given_version_then_it_is_the_packages(tmp_path):
    assert guidevane_in(tmp_path, "version").stdout.strip() == guidevane.__version__


def test_given_a_module_that_ends_the_process_then_that_is_its_mistake(tmp_path):
    (tmp_path / "ender.py").write_text("raise SystemExit(0)\n")
    done = guidevane_in(tmp_path, "check", "ender")
    assert done.returncode == 1
    assert "SystemExit: 0" in done.stderr

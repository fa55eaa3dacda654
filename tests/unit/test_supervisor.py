"""The supervisor, on children that are one line of Python each."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from guidevane.errors import Misconfigured
from guidevane.local.child import Change, Child, Patience, State
from guidevane.local.crew import Crew, open_door
from guidevane.local.ports import free_ports
from guidevane.local.process import MARK
from guidevane.local.secret import new_token
from guidevane.local.supervisor import Supervisor
from guidevane.services.controller import staffing as controller

QUICK = Patience(first_s=0.01, cap_s=0.02, deaths=2, unwell_s=1.0, stop_s=20.0)
FOREVER = "import signal; signal.pause()"


def python(name: str, code: str, tmp_path: Path, **urls: str) -> Child:
    return Child(name=name, argv=(sys.executable, "-S", "-c", code), log_path=tmp_path / f"{name}.log", **urls)


@asynccontextmanager
async def supervised(
    *children: Child, tmp_path: Path, patience: Patience = QUICK, changes: list[Change] | None = None
) -> AsyncIterator[Supervisor]:
    heard = [] if changes is None else changes
    supervisor = Supervisor(children, state_dir=tmp_path, on_change=heard.append, patience=patience)
    supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def until(true: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_child_runs_in_its_own_log_and_carries_the_state_directorys_name(tmp_path: Path) -> None:
    child = python("room", f"import os; print(os.environ['{MARK}'], flush=True); {FOREVER}", tmp_path)
    async with supervised(child, tmp_path=tmp_path) as supervisor:
        await supervisor.wait_ready(30)
        await until(lambda: child.log_path.read_text() == f"{tmp_path}\n")
        assert psutil.Process(supervisor.pids()["room"]).is_running()
    assert supervisor.pids() == {}


async def test_a_child_that_dies_is_restarted_and_everybody_hears_of_it(tmp_path: Path) -> None:
    changes: list[Change] = []
    async with supervised(python("room", FOREVER, tmp_path), tmp_path=tmp_path, changes=changes) as supervisor:
        await supervisor.wait_ready(30)
        first = supervisor.pids()["room"]
        os.kill(first, 9)
        await until(lambda: supervisor.pids().get("room", first) != first)
        await supervisor.wait_ready(30)
    assert changes == [
        Change("room", State.STARTED),
        Change("room", State.READY),
        Change("room", State.DIED, -9),
        Change("room", State.RESTARTED),
        Change("room", State.READY),
        Change("room", State.STOPPED, -15),
    ]


async def test_a_child_that_never_becomes_ready_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/readyz"
    child = python("room", "raise SystemExit('no such pipeline')", tmp_path, ready_url=url)
    async with supervised(child, tmp_path=tmp_path) as supervisor:
        with pytest.raises(Misconfigured) as gone:
            await supervisor.wait_ready(30)
    assert str(gone.value) == (
        "room ended 3 times within 60 s without being ready, at last with status 1; "
        f"the log of room, {tmp_path}/room.log, ends:\n" + "\n".join(["  no such pipeline"] * 3)
    )


async def test_what_a_person_must_mend_is_not_tried_again(tmp_path: Path) -> None:
    changes: list[Change] = []
    child = python("room", "print('no KAFKA', flush=True); raise SystemExit(78)", tmp_path)
    async with supervised(child, tmp_path=tmp_path, changes=changes) as supervisor:
        with pytest.raises(Misconfigured, match=r"room needs a person(.*\n)+ *no KAFKA$"):
            await supervisor.watch()
    assert changes[-1] == Change("room", State.DIED, 78)
    assert State.RESTARTED not in [change.state for change in changes]


async def test_children_stop_one_after_the_other_in_the_order_given(tmp_path: Path) -> None:
    drain = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "print('hears', flush=True)\n"
        "signal.pause()\n"
    )
    changes: list[Change] = []
    children = [python(name, drain, tmp_path) for name in ("hot", "warm", "cold")]
    async with supervised(*children, tmp_path=tmp_path, changes=changes):
        await until(
            lambda: all(child.log_path.exists() and "hears" in child.log_path.read_text() for child in children)
        )
    assert changes[-3:] == [Change(name, State.STOPPED, 0) for name in ("hot", "warm", "cold")]


async def test_a_child_that_does_not_drain_is_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "while True: signal.pause()\n"
    )
    changes: list[Change] = []
    child = python("room", deaf, tmp_path)
    patience = Patience(stop_s=0.1)
    async with supervised(child, tmp_path=tmp_path, changes=changes, patience=patience):
        await until(lambda: child.log_path.exists() and "deaf" in child.log_path.read_text())
    assert changes[-1] == Change("room", State.STOPPED, -9)


SERVE = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Answer).serve_forever()
"""


async def test_a_child_whose_loop_stands_still_is_ended_and_restarted(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    door = f"http://127.0.0.1:{port}"
    changes: list[Change] = []
    child = python("room", SERVE.format(port=port), tmp_path, ready_url=f"{door}/readyz", health_url=f"{door}/livez")
    async with supervised(child, tmp_path=tmp_path, changes=changes) as supervisor:
        await supervisor.wait_ready(30)
        await until(lambda: Change("room", State.RESTARTED) in changes)
    assert Change("room", State.DIED, -15) in changes


async def test_who_waits_for_something_says_for_what_once(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    serve = (
        "import http.server\n"
        "said = [(503, b'{\"reasons\": [\"no broker\"]}')] * 3 + [(503, b'no JSON'), (200, b'')]\n"
        "class Door(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        status, body = said.pop(0) if len(said) > 1 else said[0]\n"
        "        self.send_response(status)\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body)\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Door).serve_forever()\n"
    )
    changes: list[Change] = []
    child = python("room", serve, tmp_path, ready_url=f"http://127.0.0.1:{port}/readyz")
    patience = replace(QUICK, told_every_s=0.0)
    async with supervised(child, tmp_path=tmp_path, patience=patience, changes=changes) as supervisor:
        await supervisor.wait_ready(30)
    assert changes[:3] == [
        Change("room", State.STARTED),
        Change("room", State.WAITING, why="no broker"),
        Change("room", State.READY),
    ]


async def test_who_is_late_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/readyz"
    children = [python("quick", FOREVER, tmp_path), python("slow", FOREVER, tmp_path, ready_url=url)]
    async with supervised(*children, tmp_path=tmp_path) as supervisor:
        with pytest.raises(Misconfigured, match=r"not ready within 1 s: slow\n"):
            await supervisor.wait_ready(1)


async def test_a_program_that_does_not_exist_is_said_at_once(tmp_path: Path) -> None:
    child = Child(name="room", argv=("/no/such/program",), log_path=tmp_path / "room.log")
    async with supervised(child, tmp_path=tmp_path) as supervisor:
        with pytest.raises(Misconfigured, match="cannot start room"):
            await supervisor.wait_ready(30)


async def test_a_child_can_be_started_again_with_other_settings_and_without_them(tmp_path: Path) -> None:
    changes: list[Change] = []
    child = python("room", "import os, signal; print(os.environ.get('MOOD'), flush=True); signal.pause()", tmp_path)

    def said() -> list[str]:
        return child.log_path.read_text().split() if child.log_path.exists() else []

    async with supervised(child, tmp_path=tmp_path, changes=changes) as supervisor:
        await until(lambda: said() == ["None"])
        await supervisor.restart("room", {"MOOD": "odd"})
        await until(lambda: said() == ["None", "odd"])
        await supervisor.restart("room", {})
        await until(lambda: said() == ["None", "odd", "None"])
    assert [change.state for change in changes].count(State.RESTARTED) == 2


async def test_a_child_that_is_hired_stops_after_the_one_beside_it_and_can_be_dismissed(tmp_path: Path) -> None:
    changes: list[Change] = []
    hot, cold = python("hot", FOREVER, tmp_path), python("cold", FOREVER, tmp_path)
    async with supervised(hot, cold, tmp_path=tmp_path, changes=changes) as supervisor:
        for name in ("hot-1", "hot-2"):
            supervisor.hire(python(name, FOREVER, tmp_path), beside="hot")
        await until(lambda: len(supervisor.pids()) == 4)
        await supervisor.dismiss("hot-1")
        assert list(supervisor.pids()) == ["hot", "hot-2", "cold"]
    stopped = [change.child for change in changes if change.state is State.STOPPED]
    assert stopped == ["hot-1", "hot", "hot-2", "cold"]


async def test_a_child_that_is_hired_and_hopeless_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    changes: list[Change] = []
    async with supervised(python("hot", FOREVER, tmp_path), tmp_path=tmp_path, changes=changes) as supervisor:
        supervisor.hire(python("hot-1", "raise SystemExit(78)", tmp_path), beside="hot")
        await until(lambda: Change("hot-1", State.GIVEN_UP) in changes)
        assert list(supervisor.pids()) == ["hot"]
        await supervisor.dismiss("hot-1")


async def test_a_crew_is_asked_for_at_a_door_by_who_has_the_token(tmp_path: Path) -> None:
    made: list[tuple[str, int]] = []

    def further(room: str, number: int) -> Child:
        made.append((room, number))
        return python(f"{room}-{number}", FOREVER, tmp_path)

    async with supervised(python("hot", FOREVER, tmp_path), tmp_path=tmp_path) as supervisor:
        crew, port = Crew(supervisor, ["hot"], further), free_ports(1)[0]
        token = new_token(tmp_path / "token")
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
        async with open_door(crew, token, port), asking(port, token) as staffing, asking(port, "guess") as stranger:
            with pytest.raises(Misconfigured, match="401"):
                await stranger.staff("hot", 9)
            await staffing.staff("hot", 3)
            assert await staffing.consumers(["hot", "cold"]) == {"hot": 3}
            await until(lambda: crew.standing() == {"hot": {"consumers": 3, "ready": 3}})
            await staffing.staff("hot", 1)
            await until(lambda: list(supervisor.pids()) == ["hot"])
            for room, consumers in (("cold", 1), ("hot", 0)):
                with pytest.raises(Misconfigured, match=f"refused /rooms/{room}"):
                    await staffing.staff(room, consumers)
    assert made == [("hot", 1), ("hot", 2)]


@asynccontextmanager
async def asking(port: int, token: str) -> AsyncIterator[controller.Staffing]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
        # The door opens beside us.
        while True:
            try:
                await client.get("/rooms")
            except httpx.ConnectError:
                await asyncio.sleep(0.01)
            else:
                break
        yield controller.Supervisor(client)

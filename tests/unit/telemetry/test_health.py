"""Given a room that ticks and speaks, when a probe asks over HTTP, then it hears the truth and why."""

from __future__ import annotations

import httpx
import pytest

from guidevane.errors import Misconfigured
from guidevane.telemetry.health import Health, HealthServer


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now_us(self) -> int:
        return int(self.seconds * 1e6)

    def monotonic_s(self) -> float:
        return self.seconds


@pytest.fixture
def served():
    clock = Clock()
    health = Health(clock, stuck_after_s=5.0)
    with (
        HealthServer(health, lambda: b"guidevane_x 1\n") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client,
    ):
        yield clock, health, client


def test_given_a_new_room_then_it_lives_and_is_not_ready_for_it_is_starting(served) -> None:
    _, _, client = served

    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["starting"])


def test_given_a_room_that_joined_and_drains_then_it_is_ready_only_in_between(served) -> None:
    clock, health, client = served
    health.ready(True, "joined")
    clock.seconds += 2
    health.ready(True, "joined")

    assert client.get("/readyz").json() == {"ready": True, "reasons": ["joined"], "since_s": 2.0, "watch": []}

    health.ready(False, "draining")
    assert client.get("/readyz").status_code == 503


def test_given_a_loop_that_stands_still_then_the_room_neither_lives_nor_is_ready_until_it_ticks(served) -> None:
    clock, health, client = served
    health.ready(True, "joined")
    clock.seconds += 5.5

    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").json()["reasons"] == ["joined", "the loop has not ticked for 5.5 s"]

    health.tick()
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_given_any_other_path_then_the_answer_names_the_paths_and_the_metrics_are_as_scraped(served) -> None:
    _, _, client = served

    assert client.get("/metrics?x=1").text == "guidevane_x 1\n"
    assert client.get("/").status_code == 404
    assert "Python" not in client.get("/").headers["server"]


def test_given_a_port_that_is_taken_then_it_refuses_and_says_which(served) -> None:
    _, health, client = served

    with pytest.raises(Misconfigured, match=f"127.0.0.1:{client.base_url.port}"):
        HealthServer(health, bytes, client.base_url.port)


def test_given_something_to_look_at_then_a_room_that_works_is_ready_and_says_so_until_it_is_over(served) -> None:
    _, health, client = served
    health.ready(True, "working")
    health.watch("p.events/3 is held up")

    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["watch"]) == (200, ["p.events/3 is held up"])

    health.watch()
    assert client.get("/readyz").json()["watch"] == []

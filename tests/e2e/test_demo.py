"""The demo as a person runs it, and with rooms killed under it: real Kafka, real Ray, processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(420)]


class Demo:
    """`guidevane demo employment` in a process of its own."""

    def __init__(self, folder: Path, *, rooms: str, seconds: int, rate: int) -> None:
        self.state, self.report, self.log_path = folder / "state", folder / "report.json", folder / "demo.log"
        self.log = self.log_path.open("w")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "guidevane.cli", "demo", "employment", "--rooms", rooms, "--rate", str(rate),
                "--seconds", str(seconds), "--state-dir", str(self.state), "--report", str(self.report),
            ],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip

    def said(self) -> str:
        return self.log_path.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
        self.log.close()

    def endpoints(self, within_s: float = 240) -> dict:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.said()
            if (self.state / "endpoints.json").exists():
                return json.loads((self.state / "endpoints.json").read_text())
            time.sleep(0.2)
        raise AssertionError(f"not up: {self.said()}")

    def decisions_so_far(self, endpoints: dict, room: str) -> float:
        import urllib.request

        with urllib.request.urlopen(endpoints["metrics"][room], timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("guidevane_decisions_total{"))

    def wait_for_decisions(self, endpoints: dict, room: str, count: int, within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.decisions_so_far(endpoints, room) >= count:
                return
            time.sleep(0.2)
        raise AssertionError(f"no {count} decisions within {within_s} s: {self.said()}")

    def end(self) -> dict:
        self.process.wait(timeout=300)
        assert self.report.exists(), self.said()
        return json.loads(self.report.read_text())

    def leftovers(self) -> list[str]:
        mark = str(self.state.resolve())
        found = []
        for each in psutil.process_iter():
            try:
                if each.pid != os.getpid() and each.environ().get("GUIDEVANE_STATE_DIR") == mark:
                    found.append(" ".join(each.cmdline())[:120])
            except psutil.Error:
                continue
        return found


def whole(report: dict) -> bool:
    return (report["lost"], report["conflicting"], report["duplicated"]) == (0, 0, 0)


def test_every_room_can_be_killed_while_events_flow(tmp_path: Path):
    # One after the other, each while the one before it is still being started again: the seven rooms, apart.
    with Demo(tmp_path, rooms="apart", rate=60, seconds=45) as demo:
        endpoints = demo.endpoints()
        demo.wait_for_decisions(endpoints, "postprocess", 100)
        for room in ("ingest", "preprocess", "inference", "postprocess", "monitors", "controller", "admin"):
            os.kill(endpoints["pids"][room], signal.SIGKILL)
            time.sleep(3)  # kills are spread over the run, not a wait for anything
        report = demo.end()
        assert report["events"] == report["decisions"], demo.said()
        assert whole(report), demo.said()
        assert report["labels_joined"] == report["decisions"]
        assert demo.leftovers() == []


def test_the_hot_path_in_one_process_answers_every_event_once_though_it_is_killed(tmp_path: Path):
    with Demo(tmp_path, rooms="fused", rate=100, seconds=20) as demo:
        endpoints = demo.endpoints()
        demo.wait_for_decisions(endpoints, "fused", 200)
        os.kill(endpoints["pids"]["fused"], signal.SIGKILL)
        report = demo.end()
        assert report["events"] == report["decisions"] > 1500, demo.said()
        assert whole(report), demo.said()
        assert report["accuracy"] > 0.8
        assert report["labels_joined"] == report["decisions"]
        assert set(report["stages"]) == {"ingest", "preprocess", "inference", "postprocess"}
        assert report["slo"]["within_ms"] == 250.0
        assert demo.leftovers() == []

"""Given a start that cannot come to its end, then `guidevane up` says why, at once."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guidevane.errors import Misconfigured
from guidevane.local.platform import Platform

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


async def test_a_kafka_that_ends_while_the_rooms_still_start_is_told_of_with_its_log(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    # Nobody is there, so that the rooms would wait for it as long as they are let.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    def told(says: str, _share: float | None) -> None:
        if says == "fused: started":
            os.kill(platform._kafka.pid, signal.SIGKILL)

    platform = Platform("employment", state_dir=tmp_path, progress=told)
    with pytest.raises(Misconfigured, match=r"the local Kafka ended with status -9.*kafka.log ends"):
        await platform.__aenter__()


def test_a_limit_of_open_files_that_no_broker_lives_with_is_told_before_anything_starts(tmp_path: Path):
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    up = [sys.executable, "-m", "guidevane.cli", "up", "employment", "--state-dir", str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    done = subprocess.run(up, env=environ, preexec_fn=few, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a process may open 256 files here" in done.stderr
    assert "ulimit -n 65536" in done.stderr

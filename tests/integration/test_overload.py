"""Members on the real Ray that are given half again what they can do, by slack and as it comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]


def test_given_overload_then_by_slack_more_is_answered_in_time_and_every_event_has_one_decision(tmp_path: Path) -> None:
    out = tmp_path / "overload.json"
    command = [sys.executable, "-m", "loadtests.overload", "--seconds", "5", "--out", str(out)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    subprocess.run(
        [*command, "--only", "by_slack", "as_it_comes"], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": path}
    )

    played = json.loads(out.read_text())["played"]

    assert all(each["decided_once"] == each["events"] == sum(each["outcomes"].values()) for each in played.values())
    assert played["by_slack"]["outcomes"]["shed"] > 0
    assert "shed" not in played["as_it_comes"]["outcomes"]
    assert played["by_slack"]["good"] > played["as_it_comes"]["good"]

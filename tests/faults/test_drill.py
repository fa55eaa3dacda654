"""The quick drill: a few faults of every kind, one after the other, on one start of the real platform."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(420)]

QUICK = ("kill-fused", "broker-kill", "dlq-unwritable", "ray-head-kill")


def test_every_event_has_one_outcome_whatever_is_broken(tmp_path: Path):
    certificate = tmp_path / "drill.json"
    faults = [option for name in QUICK for option in ("--fault", name)]
    done = subprocess.run(
        [
            sys.executable, "-m", "guidevane.cli", "drill", "--rooms", "fused", *faults,
            "--state-dir", str(tmp_path / "state"), "--json", str(certificate),
        ],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert certificate.exists(), done.stderr
    made = json.loads(certificate.read_text())
    assert {fault["name"] for fault in made["faults"]} == set(QUICK)
    for fault in made["faults"]:
        # How soon it recovers is the certificate's to say: other work on this machine must not fail a test.
        assert fault["findings"] == {}, f"{done.stdout}\n{done.stderr}"
        assert fault["events"] > 60
        assert (fault["lost"], fault["twice"], fault["conflicting"], fault["order_violations"]) == (0, 0, 0, 0)

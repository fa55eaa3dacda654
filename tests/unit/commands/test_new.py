"""``guidevane new`` writes a pipeline that passes its own test and has no mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from guidevane.commands.new import write_pipeline
from guidevane.errors import Misconfigured

SRC = Path(__file__).parents[3] / "src"


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.run([sys.executable, *args], cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_given_a_new_pipeline_then_its_own_test_passes_and_check_finds_nothing(tmp_path: Path) -> None:
    write_pipeline("fraud", tmp_path)

    tested = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "fraud")
    checked = python(tmp_path, "-c", "from guidevane.loading import examine; print(examine('fraud')[1])")

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout
    assert checked.stdout.strip() == "[]", checked.stdout + checked.stderr


@pytest.mark.parametrize("name", ["Fraud", "1st", "a-b", "../x", "", "class", "json"])
def test_given_a_name_that_cannot_be_had_then_it_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured):
        write_pipeline(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_given_a_folder_that_is_there_then_nothing_is_overwritten(tmp_path: Path) -> None:
    write_pipeline("fraud", tmp_path)
    (tmp_path / "fraud" / "pipeline.py").write_text("mine")
    with pytest.raises(Misconfigured, match="already"):
        write_pipeline("fraud", tmp_path)
    assert (tmp_path / "fraud" / "pipeline.py").read_text() == "mine"


def test_given_a_folder_in_which_nothing_can_be_made_then_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be written: Not a directory → name another place"):
        write_pipeline("fraud", tmp_path / "file")

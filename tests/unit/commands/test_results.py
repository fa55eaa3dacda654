"""Given a place for results, when none can be written there, then it is said before anything else is done."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from guidevane.cli import app
from guidevane.commands.results import writable, write
from guidevane.errors import Misconfigured


@pytest.mark.parametrize(
    ("path", "says"),
    [("", "is a folder → name a file in it"), ("file/below.json", "takes no file → name another place")],
)
def test_given_a_place_that_takes_no_file_then_it_is_refused(tmp_path, path: str, says: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=says):
        writable(tmp_path / path)


def test_given_folders_that_are_not_there_yet_then_they_are_made_when_it_is_written(tmp_path) -> None:
    path = writable(tmp_path / "a" / "b.json")
    assert path is not None
    assert not path.parent.exists()
    write(path, "{}")
    assert path.read_text() == "{}"


def test_given_a_place_that_became_unwritable_then_that_is_no_traceback(tmp_path) -> None:
    with pytest.raises(Misconfigured, match="cannot be written: Is a directory"):
        write(tmp_path, "{}")


@pytest.mark.parametrize(
    "command",
    [
        ["drill", "--json", "FOLDER"],
        ["drill", "--report", "FOLDER"],
        ["demo", "--report", "FOLDER"],
        ["profile", "employment", "--json", "FOLDER"],
        ["profile", "employment", "--plot", "FOLDER"],
        ["plan", "nowhere.json", "--slo", "1s", "--plot", "FOLDER"],
    ],
)
def test_given_a_command_that_takes_minutes_then_it_is_refused_before_them(tmp_path, command: list[str]) -> None:
    refused = CliRunner().invoke(app, [str(tmp_path) if each == "FOLDER" else each for each in command]).exception
    assert isinstance(refused, Misconfigured)
    assert "is a folder" in str(refused)


def test_given_a_pipeline_without_data_then_a_demo_says_so_before_anything_starts(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "dataless.py").write_text("from guidevane.pipelines.employment import pipeline\n")
    refused = CliRunner().invoke(app, ["demo", "dataless"]).exception
    assert isinstance(refused, Misconfigured)
    assert "dataless brings no data to replay" in str(refused)


def test_given_a_mode_that_is_none_then_a_drill_names_its_own_option() -> None:
    refused = CliRunner().invoke(app, ["drill", "--mode", "exactly-once"]).exception
    assert str(refused) == "--mode exactly-once: write effective or transactional"

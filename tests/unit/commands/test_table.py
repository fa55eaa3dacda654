"""Tables show all that is in them, on a screen of any width and in a pipe."""

from __future__ import annotations

import json

import pytest
from rich.table import Table
from typer.testing import CliRunner

from guidevane.commands import schemas
from guidevane.commands.table import show_table

PLACE = "telemetry-of-a-long-name.events/11/1234567890"


def told() -> Table:
    table = Table("place", "event", "why", box=None)
    table.add_row("3/42", PLACE, "a reason that is quite a bit longer than what fits beside it on a narrow screen")
    return table


def test_given_a_pipe_then_each_row_is_one_line_and_whole(capsys) -> None:
    show_table(told())
    _, row = capsys.readouterr().out.splitlines()
    assert row.split()[:2] == ["3/42", PLACE]
    assert row.rstrip().endswith("on a narrow screen")


def test_given_a_narrow_screen_then_long_words_are_folded_not_cut(capsys, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    show_table(told())
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines()[1:])) <= 40


@pytest.mark.parametrize("arguments", [["list", "--json"], ["check", "--json"]])
def test_given_json_then_every_line_of_contracts_is_an_object(arguments) -> None:
    done = CliRunner().invoke(schemas.app, arguments)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert {row["contract"] for row in rows} >= ({"decision", "label"} if "list" in arguments else set())


def test_given_versions_that_cannot_read_each_other_then_json_says_where(tmp_path) -> None:
    for number, fields in enumerate((["x"], ["x", "y"]), start=1):
        (tmp_path / "point" / f"v{number}").mkdir(parents=True)
        schema = {"type": "record", "name": "P", "fields": [{"name": name, "type": "int"} for name in fields]}
        (tmp_path / "point" / f"v{number}" / "schema.avsc").write_text(json.dumps(schema))
    done = CliRunner().invoke(schemas.app, ["check", str(tmp_path), "--json"])
    (row,) = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 1
    assert (row["contract"], row["reader"], row["writer"], row["path"]) == ("point", 2, 1, "y")

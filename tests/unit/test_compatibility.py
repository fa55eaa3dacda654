"""Versions of a contract read each other, or the check says which cannot, where, and what to do."""

import json

import pytest
from typer.testing import CliRunner

from guidevane.commands.schemas import app
from guidevane.compatibility import MODES, check, check_tree
from guidevane.errors import Misconfigured
from guidevane.schema import SCHEMAS


def record(*fields, name="a.R"):
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name, kind="int", **more):
    return {"name": name, "type": kind, **more}


ENUM = {"type": "enum", "name": "a.E", "symbols": ["x", "y"]}
FEWER = {"type": "enum", "name": "a.E", "symbols": ["x"]}


def test_every_published_contract_can_read_all_that_was_ever_written():
    assert check_tree(SCHEMAS) == []


@pytest.mark.parametrize(
    ("older", "newer", "backward", "forward"),
    [
        (record(field("x")), record(field("x")), [], []),
        (record(field("x")), record(field("x"), field("y")), ["y"], []),
        (record(field("x")), record(field("x"), field("y", default=0)), [], []),
        (record(field("x"), field("y")), record(field("x")), [], ["y"]),
        (record(field("x")), record(field("x", "long")), [], ["x"]),
        (record(field("x")), record(field("x", "string")), ["x"], ["x"]),
        (record(field("x")), record(field("x", ["null", "int"])), [], ["x"]),
        (record(field("e", FEWER)), record(field("e", ENUM)), [], ["e"]),
        (record(field("e", {**FEWER, "default": "x"})), record(field("e", ENUM)), [], []),
        (record(field("x")), record(field("x"), name="a.S"), [""], [""]),
        (record(field("x")), record(field("x"), name="b.R"), [], []),
        (record(field("old")), record(field("new", aliases=["old"])), [], ["old"]),
        (
            record(field("n", {"type": "array", "items": record(field("q"), name="a.I")})),
            record(field("n", {"type": "array", "items": record(field("q", "string"), field("r"), name="a.I")})),
            ["n[].q", "n[].r"],
            ["n[].q"],
        ),
        (
            record(field("m", {"type": "map", "values": "int"})),
            record(field("m", {"type": "map", "values": "bytes"})),
            ["m{}"],
            ["m{}"],
        ),
    ],
)
def test_a_change_is_judged_in_both_directions_and_its_place_is_told(older, newer, backward, forward):
    history = {1: older, 2: newer}
    told = {mode: [(p.reader, p.writer, p.path) for p in check(history, mode)] for mode in MODES}
    assert told["BACKWARD"] == [(2, 1, path) for path in backward]
    assert told["FORWARD"] == [(1, 2, path) for path in forward]
    assert told["FULL"] == told["BACKWARD"] + told["FORWARD"]
    assert told["FULL_TRANSITIVE"] == told["FULL"]
    assert all(problem.says and problem.instead for problem in check(history))


def test_only_the_transitive_modes_look_further_back_than_one_version():
    # A default that comes and goes: v3 reads v2, but not v1.
    history = {
        1: record(field("x")),
        2: record(field("x"), field("y", default=0)),
        3: record(field("x"), field("y")),
    }
    assert check(history, "BACKWARD") == []
    assert [(p.reader, p.writer, p.path) for p in check(history, "BACKWARD_TRANSITIVE")] == [(3, 1, "y")]


def test_a_recursive_contract_is_judged_and_the_check_ends():
    chain = record(field("next", ["null", "a.R"]), field("x"))
    longer = record(field("next", ["null", "a.R"]), field("x"), field("y"))
    assert check({1: chain, 2: chain}) == []
    assert [p.path for p in check({1: chain, 2: longer}, "BACKWARD")]


def write(folder, version, schema):
    path = folder / f"v{version}" / "schema.avsc"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(schema))


def test_an_authors_folder_of_one_contract_is_checked_too(tmp_path):
    write(tmp_path, 1, record(field("x")))
    write(tmp_path, 2, record(field("x"), field("y")))
    assert [p.contract for p in check_tree(tmp_path)] == [tmp_path.name]


def test_a_folder_without_contracts_is_misconfigured(tmp_path):
    with pytest.raises(Misconfigured, match="holds no contract"):
        check_tree(tmp_path)


def test_the_command_says_what_is_wrong_and_fails(tmp_path):
    write(tmp_path / "ping", 1, record(field("x")))
    write(tmp_path / "ping", 2, record(field("x"), field("y")))
    refused = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert refused.exit_code == 1
    assert "ping v2 cannot read v1 at y" in refused.output
    assert CliRunner().invoke(app, ["check", str(tmp_path), "--mode", "forward"]).exit_code == 0
    assert CliRunner().invoke(app, ["check", str(tmp_path), "--mode", "sideways"]).exit_code == 2


def test_the_commands_list_show_and_check_what_is_published():
    assert "decision" in CliRunner().invoke(app, ["list"]).output
    assert json.loads(CliRunner().invoke(app, ["show", "decision"]).output)["name"] == "Decision"
    assert "all are FULL_TRANSITIVE" in CliRunner().invoke(app, ["check"]).output

"""What cannot work is told before it runs: names, types and models that do not meet."""

from __future__ import annotations

import json
import re
import sys

import pytest

from guidevane.loading import examine, load_pipeline

MODULE = """
from dataclasses import dataclass
from guidevane import *

SCHEMA = {{"type": "record", "name": "a.b", "fields": [
    {{"name": "k", "type": "string"}}, {{"name": "x", "type": "double"}}, {{"name": "n", "type": ["null", "int"]}},
    {{"name": "e", "type": {{"type": "enum", "name": "a.Colour", "symbols": ["red", "green"]}}}},
    {{"name": "f", "type": "a.Colour"}}, {{"name": "r", "type": {{"type": "array", "items": "double"}}}},
    {{"name": "m", "type": ["string", "int"]}}, {{"name": "who", "type": "string"}},
]}}

class Plain:
    field, reads, writes = "x", ("x",), ("x",)
    def __call__(self, columns): return columns

@dataclass(frozen=True)
class Tripping(Plain):
    def mistakes_against(self, event): raise LookupError("mine")

@dataclass(frozen=True)
class Heavy(Plain):
    weights: object = frozenset()

pipeline = Pipeline(
    name="p", event=Event({contract!r}, schema={schema}, key="k", pii=("who",)), features=[{features}],
    ensemble={ensemble}, monitors=[{monitors}],
)
"""


@pytest.fixture
def told(tmp_path, monkeypatch, request):
    """Return what `guidevane check` tells of the module above, with a part of it replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "members.py").write_text("class Net:\n    version = '1'\n")

    def tell(**said: str) -> str:
        parts = {
            "contract": "a.b.v1", "schema": "SCHEMA", "features": "Numeric('x')", "monitors": "",
            "ensemble": "Ensemble([Member('net', 'members:Net')])",
        }  # fmt: skip
        name = "author_" + re.sub(r"\W", "_", request.node.name)
        (tmp_path / f"{name}.py").write_text(MODULE.format(**{**parts, **said}))
        return "\n".join(map(str, examine(name)[1]))

    return tell


def test_given_names_types_and_models_that_meet_then_nothing_is_told(told):
    features = (
        "Numeric('x'), Numeric('n'), Numeric('m'), OneHot('m', ('a', 1)), OneHot('n', (1, 2)), Embed('e', ('red',)), "
        "OneHot('f', ('green',))"
    )
    assert told(features=features, monitors="Quality(categories={'n': (1, 2), 'm': ('a',)})") == ""


@pytest.mark.parametrize(
    ("part", "said", "tells"),
    [
        ("features", "Numeric('k')", r"features\[0\]\.field: 'k' is string, never a number"),
        ("features", "Log1p('e'), Numeric('x')", r"features\[0\]\.field: 'e' is enum, never a number"),
        ("features", "Standardise('r', mean=0, std=1)", r"features\[0\]\.field: 'r' is array, never a number"),
        ("features", "Fill('k', 'a'), Clip('k', 0, 1), Numeric('x')", r"features\[1\]\.field: 'k' is string"),
        ("features", "OneHot('n', ('1', '2'))", r"features\[0\]\.categories: 'n' is int, and none of these is"),
        ("features", "Embed('e', ('red', 'gren'))", r"features\[0\]\.categories\[1\]: .*'gren' → write 'green'"),
        ("features", "OneHot('f', ('blue',))", r"features\[0\]\.categories\[0\]: 'f' has no symbol 'blue'"),
        ("features", "OneHot('who', ('ann',))", r"features\[0\]\.categories: 'who' is personal"),
        ("features", "Numeric, Numeric('y')", r"features\[0\]: <class .*> is no feature.*\n.*\[1\]\.field: .* 'y'"),
        ("features", "Plain(), Numeric('x')", r"features\[0\]: .*Plain is no dataclass"),
        ("features", "Heavy(), Numeric('x')", r"features\[0\]: .*Heavy cannot be written as JSON"),
        ("monitors", "Drift(), Drift()", "monitors: 2 monitors have the name 'drift'"),
        ("monitors", "Quality(categories={'n': ('1',)})", r"monitors\[0\]\.categories\.n: 'n' is int"),
        ("ensemble", "Ensemble([Member('m', 'nowhere:Net')])", r"members\[0\]\.model: there is no module 'nowhere'"),
        ("ensemble", "Ensemble([Member('m', 'members:Nett')])", r"members\[0\]\.model: .*'Nett' → write 'Net'"),
    ],
)
def test_given_what_cannot_work_then_it_is_told_with_its_place(told, part, said, tells):
    assert re.search(tells, told(**{part: said}))


@pytest.mark.parametrize(
    ("part", "said", "tells"),
    [
        ("schema", "{'type': 'record', 'name': 'a.b', 'fields': [{'name': 'k', 'type': 'strin'}]}", "event.schema: "),
        ("schema", "__import__('pathlib').Path('nowhere.avsc')", "event.schema: .*No such file"),
        ("contract", "a.b", "event.contract: must be a namespace"),
        ("ensemble", "Ensemble({'m': 'members:Net'})", "ensemble.members: "),
        ("features", "Numeric('x'), Tripping()", "LookupError: mine"),
    ],
)
def test_given_a_part_that_others_trip_over_then_it_is_told_and_nothing_is_raised(told, part, said, tells):
    assert re.search(tells, told(**{part: said}))


@pytest.mark.parametrize(("version", "tells"), [(1, "event.schema: v1 cannot read v2 at x: "), (2, "")])
def test_given_versions_then_those_are_told_that_the_pipelines_own_cannot_read(told, tmp_path, version, tells):
    for number, kind in enumerate(("int", "long"), start=1):
        kinds = {"k": "string", "x": kind, "who": "string"}
        fields = [{"name": name, "type": kind} for name, kind in kinds.items()]
        (tmp_path / f"b.v{number}.avsc").write_text(json.dumps({"type": "record", "name": "a.b", "fields": fields}))
    schema = f"__import__('pathlib').Path({str(tmp_path / f'b.v{version}.avsc')!r})"
    found = told(schema=schema, contract=f"a.b.v{version}")
    assert found.startswith(tells)
    assert bool(found) == bool(tells)


def test_given_a_room_where_the_members_code_is_not_then_it_loads_the_pipeline_all_the_same(told):
    assert "there is no module 'nowhere'" in told(ensemble="Ensemble([Member('m', 'nowhere:Net')])")
    module = next(name for name in sys.modules if name.startswith("author_test_given_a_room"))
    assert load_pipeline(f"{module}:pipeline").ensemble.names == ("m",)

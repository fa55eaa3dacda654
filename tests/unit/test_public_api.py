"""What an author may name: whole, sorted, there, and loaded only when it is named."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import guidevane

INIT = Path(guidevane.__file__)
HEAVY = ("numpy", "pydantic", "ray", "torch", "river", "aiokafka", "fastapi")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def named_for_type_checkers() -> list[str]:
    body = ast.parse(INIT.read_text(encoding="utf-8")).body
    guarded = [node for node in body if isinstance(node, ast.If)]
    return [alias.name for node in ast.walk(guarded[0]) if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_given_the_public_names_then_they_are_sorted_and_each_stands_once():
    assert guidevane.__all__ == sorted(set(guidevane.__all__))


def test_given_the_public_names_then_type_checkers_and_programs_know_the_same():
    assert sorted(named_for_type_checkers()) == guidevane.__all__
    assert set(guidevane.__all__) <= set(dir(guidevane))


@pytest.mark.parametrize("name", guidevane.__all__)
def test_given_a_public_name_then_it_can_be_imported_and_says_what_it_promises(name):
    found = getattr(guidevane, name)
    assert found.__name__ == name
    assert found.__doc__


def test_given_a_name_that_is_not_there_then_it_is_an_attribute_error_with_the_name():
    with pytest.raises(AttributeError, match="Pipelin'"):
        guidevane.Pipelin  # noqa: B018 - the access is what is tested


def test_given_a_fresh_python_when_the_package_is_imported_then_nothing_heavy_is():
    code = f"import sys, guidevane; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code).strip() == "[]"


def test_given_a_fresh_python_when_errors_are_imported_then_no_model_framework_is():
    code = (
        f"import sys; from guidevane import Misconfigured; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_given_a_fresh_python_when_every_public_name_is_loaded_then_no_room_and_no_client_comes_along():
    rest = ("ray", "torch", "aiokafka", "fastapi", "guidevane.services", "guidevane.runtime", "guidevane.local")
    whole = "import sys; from guidevane import *"
    assert run(f"{whole}; print([name for name in {rest!r} if name in sys.modules])").strip() == "[]"

"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from guidevane import Pipeline
from guidevane.word import mistakes_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_given_the_pipeline_of_the_readme_then_check_finds_no_mistake():
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    named: dict[str, object] = {}
    exec(block, named)  # noqa: S102 - the page's own code is what is tested
    pipeline = named["pipeline"]
    assert isinstance(pipeline, Pipeline)
    assert list(mistakes_of(pipeline)) == []


def test_given_the_make_targets_of_the_readme_then_each_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_given_the_pages_that_the_readme_and_the_architecture_name_then_each_exists():
    for page in (README, (ROOT / "ARCHITECTURE.md").read_text()):
        for path in re.findall(r"\]\(([^)#]+)\)", page):
            assert (ROOT / path).exists(), path


def test_given_the_files_that_the_architecture_walks_past_then_each_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text):
        assert (ROOT / "src" / "guidevane" / path).exists() or (ROOT / path).exists(), path

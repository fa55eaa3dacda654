"""What the page for contributors names is there, and every gate calls the same targets."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_given_the_page_then_every_path_in_it_is_there():
    named = set(re.findall(r"`((?:src|tests|docs|infra)/[^` ]+)`", PAGE))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_given_the_page_then_every_target_in_it_is_there():
    named = set(re.findall(r"\bmake ([a-z-]+)", PAGE))
    assert named <= TARGETS


def test_given_pre_commit_then_it_checks_what_make_checks_and_nothing_else():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == ["make check", "make test"]
    assert {hook["entry"].split()[1] for hook in hooks} <= TARGETS


def test_given_ci_then_it_calls_the_same_targets():
    called = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / ".ci/run").read_text(encoding="utf-8")))
    assert called == {"check", "test"}

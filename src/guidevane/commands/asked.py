# ruff: noqa: PLC0415 - a command imports what it uses, so that --help is quick
"""What ``guidevane plan`` and ``whatif`` are given: graphs, and plans that a person may have written to since."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.control.graph import Graph
    from guidevane.control.plant import Setting
    from guidevane.control.question import Question


def question_of(where: Path, written: object, asked: Mapping[str, Any]) -> Question:
    """Return the question that ``asked`` (objective, rate or recording, burstiness, share) is of a graph."""
    from guidevane.commands.arrivals import read
    from guidevane.control.question import LEAST_EPSILON, Question
    from guidevane.control.reading import read_graph

    try:
        graph = read_graph(written)
    except Misconfigured as wrong:
        raise Misconfigured("\n".join(f"{where}: {line}" for line in str(wrong).splitlines())) from wrong
    recording, rate = asked.get("arrivals"), asked.get("rate_per_s")
    if (recording is None) == (rate is None):
        refuse("a plan is for a rate or for a recording", "write --rate 120, or --arrivals A.csv")
    if rate is not None and not rate > 0:
        refuse(f"a rate of {rate:g} events/s is none", "write --rate 120")
    if 0 < asked["epsilon"] < LEAST_EPSILON:
        says = f"epsilon {asked['epsilon']:g} cannot be told from nothing in the longest trace that is planned for"
        refuse(says, f"write {LEAST_EPSILON:g} or more")
    if not 0 < asked["epsilon"] < 1:
        refuse(f"epsilon {asked['epsilon']:g} is no share of events", "write a number between 0 and 1, such as 0.01")
    if not 0 <= asked["scv"] < float("inf"):
        refuse(f"scv {asked['scv']:g} is none", "write 0 for a metronome, 1 for Poisson, more for bursts")
    arrivals = None if recording is None else read(Path(recording))
    return Question(
        graph=graph, slo_s=asked["slo_ms"] / 1e3, rate_per_s=rate or 0.0, scv=asked["scv"], epsilon=asked["epsilon"],
        arrivals_s=arrivals,
    )  # fmt: skip


def settings_of(where: Path, written: object, graph: Graph) -> dict[str, Setting]:
    """Return a plan's settings by stage, each of them one that the graph can have."""
    from guidevane.control.plant import Setting

    if not isinstance(written, dict) or set(written) != set(graph.names):
        refuse(f"{where}: settings must be of the stages {', '.join(graph.names)}", "write the plan again")
    found = {}
    for stage in graph.stages:
        each, at = written[stage.name], f"{where}: settings.{stage.name}"
        if not isinstance(each, dict):
            refuse(f"{at} is {each!r:.40}", 'write {"hardware": ..., "replicas": ..., "batch": ...}')
        most = stage.on(str(each.get("hardware"))).profile.most
        for name, bound, instead in (("replicas", math.inf, "1 or more"), ("batch", most, f"1 to {most}")):
            value = each.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= bound:
                refuse(f"{at}.{name} is {value!r:.40}", f"write {instead}")
        found[stage.name] = Setting(each["hardware"], each["replicas"], each["batch"])
    return found


def asked_of(where: Path, written: object) -> dict[str, Any]:
    """Return what a plan was asked for, as it stands in its file: numbers where numbers must be."""
    if not isinstance(written, dict):
        refuse(f"{where}: asked is {written!r:.40}", "write the plan again")
    numbers = ["slo_ms", "scv", "epsilon"]
    # Of a recording, no rate was asked.
    numbers += ["rate_per_s"] if written.get("rate_per_s") is not None else []
    for name in numbers:
        value = written.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or (name == "slo_ms" and value <= 0):
            refuse(f"{where}: asked.{name} is {value!r:.40}, no number to plan by", "write the plan again")
    if not isinstance(written.get("arrivals"), str | None):
        refuse(f"{where}: asked.arrivals is {written['arrivals']!r:.40}, no path", "write the plan again")
    return written


def document(path: Path) -> Any:
    """Return a JSON file. Raises ``Misconfigured`` also for a name that stands twice: a parser would keep the last."""
    import orjson

    from guidevane.repeated import repeated_key

    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        written = orjson.loads(text)
    except OSError as wrong:
        refuse(f"{path} cannot be read: {wrong.strerror or wrong}", "name a file that is there")
    except orjson.JSONDecodeError as wrong:
        refuse(f"{path} is no JSON: {wrong}", "write it as JSON")
    if (twice := repeated_key(text, written)) is not None:
        refuse(f"{path}: {twice!r} stands twice in one object", "write each name once")
    return written


def refuse(says: str, instead: str) -> NoReturn:
    """Raise ``Misconfigured``: what is wrong, and what to do instead."""
    raise Misconfigured(f"{says} → {instead}")

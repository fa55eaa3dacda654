"""Small graphs and what is done on them, for the tests of the steering benchmark."""

from __future__ import annotations

from guidevane.control.graph import Graph
from guidevane.control.plant import Action, Observation, Setting, StageObservation
from guidevane.control.reading import read_graph


def graph(stages: dict[str, dict], edges: list | None = None, **others: object) -> Graph:
    return read_graph({"stages": stages, "edges": edges or [], "jitter": 0.0, **others})


def one(ms: dict[str, float] | float = 10.0, **others: object) -> Graph:
    return graph({"a": {"latency_ms": ms if isinstance(ms, dict) else {"1": ms}, **others}})


def action(shed: bool = False, level: int = 0, **settings: tuple[int, int]) -> Action:
    made = {name: Setting("default", replicas, batch) for name, (replicas, batch) in settings.items()}
    return Action(made, "test", shed=shed, level=level)


def seen(time_s: float, *, counts: tuple[int, ...] = (), **stage: object) -> Observation:
    fields = {"arrivals": 0, "queue": 0, "ready": 1, "hardware": "default", "batch": 1, **stage}
    return Observation(
        time_s=time_s, interval_s=1.0, counts=counts, stages=(StageObservation(name="a", **fields),), expected_per_s=1.0
    )

"""Events to measure with: a pipeline's recorded ones, or some made by its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guidevane.demo.run import source_of
from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guidevane.clock import Clock
    from guidevane.pipeline import Pipeline


def events_for(reference: str, pipeline: Pipeline, clock: Clock) -> tuple[Callable[[int], Mapping[str, Any]], str]:
    """Return what makes the event of a number, each under an id of its own; and where they come from, in words."""
    try:
        source = source_of(reference)
    except Misconfigured:
        return lambda number: _made(pipeline, number, clock.now_us()), "made by the contract"

    def recorded(number: int) -> Mapping[str, Any]:
        replay, index = divmod(number, len(source))
        return source.event(index, event_id=f"profile-{number}", observed_at_us=clock.now_us(), replay=str(replay))

    return recorded, "recorded"


def _made(pipeline: Pipeline, number: int, now_us: int) -> dict[str, Any]:
    declared = pipeline.event
    schema: Any = declared.history[declared.version]
    event: dict[str, Any] = _value(schema, {}, number)
    event[declared.key] = _value(_type_of(schema, declared.key), {}, number)
    if declared.time is not None and declared.in_microseconds(declared.time):
        event[declared.time] = now_us
    return event


def _type_of(schema: Mapping[str, Any], name: str) -> Any:
    return next(field["type"] for field in schema["fields"] if field["name"] == name)


def _value(schema: Any, named: dict[str, Any], number: int) -> Any:
    """Return a value of a schema that changes with the number; of a union, the first branch that is not null.

    >>> _value({"type": "record", "name": "R", "fields": [{"name": "x", "type": ["null", "double"]}]}, {}, 3)
    {'x': 3.0}
    """
    if isinstance(schema, list):
        return _value(next((each for each in schema if each != "null"), "null"), named, number)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = schema
    if kind == "record":
        return {field["name"]: _value(field["type"], named, number) for field in schema["fields"]}
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind](number)
    if isinstance(kind, str) and kind in _NESTED:
        return _NESTED[kind](schema, named, number)
    return _value(kind if isinstance(kind, (dict, list)) else named[str(kind)], named, number)


_NESTED: dict[str, Callable[[Any, dict[str, Any], int], Any]] = {
    "enum": lambda schema, _, number: schema["symbols"][number % len(schema["symbols"])],
    "array": lambda schema, named, number: [_value(schema["items"], named, number)],
    "map": lambda schema, named, number: {"a": _value(schema["values"], named, number)},
    "fixed": lambda schema, *_: bytes(schema["size"]),
}
_PLAIN: dict[str, Callable[[int], Any]] = {
    "null": lambda _: None,
    "boolean": lambda number: number % 2 == 0,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "bytes": lambda number: b"%d" % number,
    "string": lambda number: f"s{number}",
}

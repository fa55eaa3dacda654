"""What a topic does not take for its size costs nobody but itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.unit.runtime.test_worker import committed, run_until, upper, worker

from guidevane.errors import TooLarge
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import LEFT_OUT, reasons
from guidevane.runtime.stage import ORIGIN


@pytest.mark.parametrize("mode", ["effective", "transactional"])
async def test_given_a_dead_letter_too_large_for_its_topic_then_it_says_where_the_event_lies_and_all_else_goes_on(mode):
    log = MemoryLog(1)
    event = Message(b"k", b"poison" + bytes(900_000), (("event_id", b"e1"), ("note", b"n")))
    await log.append("p.events", 0, [Message(None, b"poison"), event, Message(None, b"e")])
    log.on_send = refusing("p.dlq", 800_000)
    stages = [upper("one", "p.events", "p.out", first=True)]
    shared = worker(log, stages, mode=mode)
    await run_until(log, lambda: shared, lambda: committed(log) >= 3)
    small, large = log.records("p.dlq")
    assert (small.value, small.header(LEFT_OUT)) == (b"poison", None)
    assert (large.key, large.value, large.header("note")) == (None, None, None)
    assert large.header(LEFT_OUT) == b"key of 1, value of 900006 bytes, 2 headers"
    assert (large.header("event_id"), large.header(ORIGIN)) == (b"e1", b"1")
    assert reasons(large)["exception.class"] == "poison"
    assert [record.value for record in log.records("p.out")] == [b"eone"]


async def test_given_an_answer_too_large_for_its_topic_then_its_event_is_a_dead_letter():
    log = MemoryLog(1)
    await log.append("p.events", 0, [Message(b"k", bytes(900_000)), Message(None, b"e")])
    log.on_send = refusing("p.out", 800_000)
    stages = [upper("one", "p.events", "p.out", first=True)]
    shared = worker(log, stages)
    await run_until(log, lambda: shared, lambda: committed(log) >= 2)
    (letter,) = log.records("p.dlq")
    assert (letter.value, reasons(letter)["exception.class"]) == (bytes(900_000), "too_large")
    assert [record.value for record in log.records("p.out")] == [b"eone"]


def refusing(narrow: str, most: int) -> Callable[[str, int, Sequence[Message]], None]:
    """Return a log's ear that lets one topic take no message of more than so many bytes."""

    def on_send(topic: str, partition: int, messages: Sequence[Message]) -> None:
        del partition
        largest = max(message.size_bytes for message in messages)
        if topic == narrow and largest > most:
            raise TooLarge(topic, largest)

    return on_send

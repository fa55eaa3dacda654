"""Given the settings that Kafka's own clients know, then ours go by them, and what none could go by is named."""

from __future__ import annotations

import pytest

from guidevane.errors import Misconfigured
from guidevane.log.kafka import Connection


def test_a_request_may_take_as_long_as_is_set():
    told = Connection.told({"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "KAFKA_REQUEST_TIMEOUT_MS": "40000"})
    assert told.options()["request_timeout_ms"] == 40_000


@pytest.mark.parametrize("name", ["KAFKA_REQUEST_TIMEOUT_MS", "KAFKA_COMPRESSION_TYPE"])
def test_what_is_set_to_nothing_is_not_set(name):
    assert Connection.told({name: ""}) == Connection.told({})


@pytest.mark.parametrize("text", ["15s", "-1", "0", "999", "1.5e4"])
def test_a_time_that_is_none_is_named(text):
    with pytest.raises(Misconfigured, match=rf"KAFKA_REQUEST_TIMEOUT_MS is '{text}' → milliseconds"):
        Connection.told({"KAFKA_REQUEST_TIMEOUT_MS": text})

"""What one room reads of another's values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.columns import FEWEST
from guidevane.errors import Reject
from guidevane.events import Features
from guidevane.log import Record
from guidevane.services.passing import Drawn, Reads, envelopes

CODEC = Codec(Catalogue())


def features(event_id: str) -> Features:
    return {
        "event_id": event_id, "event_time_us": 1_700_000_000_000_000, "deadline_us": 1_700_000_000_250_000,
        "feature_set": "v", "vector": b"\0" * 8, "protected": {"sex": "1"},
    }  # fmt: skip


def record(value: bytes | None, body: object = None) -> Record:
    return Record("p.features", 0, 7, b"k", value, body=body)


def read_by(codec: Codec) -> Reads[Drawn]:
    return Reads(codec, "features", ("feature_set", "vector"))


def test_given_values_then_each_event_is_read_with_its_envelope_and_equal_groups_are_one():
    events = [features(name) for name in ("a", "b", "é" * 40, "long" * 64)] * FEWEST

    found = read_by(CODEC)([record(CODEC.encode("features", event)) for event in events])

    assert found == [{**event, "envelope": made} for event, made in zip(events, envelopes(events), strict=True)]
    assert found[0]["protected"] is found[1]["protected"]


TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**55) | st.just(1_700_000_000_000_000)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=300), TIMES, TIMES), min_size=1, max_size=12), st.sampled_from([1, FEWEST]))
def test_whatever_ids_and_times_are_they_are_read_as_the_decoder_reads_them(heads, often):
    events = [features(name) | {"event_time_us": at, "deadline_us": due} for name, at, due in heads] * often
    values = [CODEC.encode("features", event) for event in events]

    found = read_by(CODEC)([record(value) for value in values])

    assert [{name: value for name, value in each.items() if name != "envelope"} for each in found] == events
    for each, event in zip(found, events, strict=True):
        assert each.get("envelope") in {None, *envelopes([event])}


def test_given_bodies_from_this_process_then_they_are_taken_as_they_are():
    made: Drawn = {**features("a"), "envelope": (b"", b"", b"")}
    other = record(CODEC.encode("features", features("b")))

    read = read_by(CODEC)

    assert read([record(b"not read", made)])[0] is made
    assert read([record(b"not read", made), other]) == [made, features("b")]
    assert read([]) == []


def test_given_bytes_that_no_room_wrote_then_they_are_refused_as_the_decoder_refuses_them():
    read = read_by(CODEC)
    value = CODEC.encode("features", features("a"))

    for wrong, cause in (
        (None, "empty"),
        (b"{}", "bad_magic"),
        (value[:-4], "truncated"),
        (value + b"\0", "trailing_bytes"),
    ):
        for before in ([record(value)], [record(value)] * FEWEST):
            with pytest.raises(Reject) as rejected:
                read([*before, record(wrong)])
            assert rejected.value.cause == cause

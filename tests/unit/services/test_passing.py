"""What one room reads of another's values."""

from __future__ import annotations

import pytest

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.errors import Reject
from guidevane.events import Features
from guidevane.log import Record
from guidevane.services.passing import Drawn, reader


def features(event_id: str) -> Features:
    return {
        "event_id": event_id, "event_time_us": 1_700_000_000_000_000, "deadline_us": 1_700_000_000_250_000,
        "feature_set": "v", "vector": b"\0" * 8, "protected": {"sex": "1"},
    }  # fmt: skip


def record(value: bytes | None, body: object = None) -> Record:
    return Record("p.features", 0, 7, b"k", value, body=body)


def test_given_a_value_then_its_whole_event_is_read_and_equal_groups_are_one():
    codec = Codec(Catalogue())
    read = reader(codec, "features", Drawn)
    written = [codec.encode("features", features(name)) for name in ("a", "b")]

    first, second = (read(record(value)) for value in written)

    assert [first, second] == [features("a"), features("b")]
    assert first["protected"] is second["protected"]


def test_given_a_body_from_this_process_then_it_is_taken_as_it_is():
    made: Drawn = {**features("a"), "envelope": (b"", b"", b"")}

    assert reader(Codec(Catalogue()), "features", Drawn)(record(b"not read", made)) is made


def test_given_bytes_that_no_room_wrote_then_they_are_refused_as_the_decoder_refuses_them():
    codec = Codec(Catalogue())
    read = reader(codec, "features", Drawn)
    value = codec.encode("features", features("a"))

    for wrong, cause in (
        (None, "empty"),
        (b"{}", "bad_magic"),
        (value[:-4], "truncated"),
        (value + b"\0", "trailing_bytes"),
    ):
        with pytest.raises(Reject) as rejected:
            read(record(wrong))
        assert rejected.value.cause == cause

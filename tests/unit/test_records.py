"""Batches of records and answers are made of columns: each is what it would be, made alone."""

from itertools import repeat

from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from guidevane.log import Message, Record, records_of
from guidevane.log.kafka.consumer import read
from guidevane.runtime.stage import ORIGIN
from guidevane.services.passing import EVENT_ID, answers

BYTES = st.none() | st.binary(max_size=4)
HEADERS = st.lists(st.tuples(st.text(max_size=3), BYTES), max_size=2)
RAWS = st.lists(st.tuples(st.integers(0, 1 << 40), BYTES, BYTES, HEADERS, st.none() | st.integers(0, 1 << 42)))


@given(RAWS)
def test_given_what_a_client_read_then_each_record_has_its_own_fields_and_a_time_in_microseconds(raws):
    read_by_it = [
        ConsumerRecord("p.events", 3, offset, time, 0, key, value, None, -1, -1, headers)
        for offset, key, value, headers, time in raws
    ]
    assert read("p.events", 3, read_by_it) == [
        Record("p.events", 3, offset, key, value, tuple(headers), (time or 0) * 1000)
        for offset, key, value, headers, time in raws
    ]


def test_given_columns_that_never_end_then_there_are_as_many_records_as_the_others_have():
    assert records_of(repeat("t"), [0, 1], repeat(-1), repeat(None), repeat(b""), repeat(()), repeat(0)) == [
        Record("t", 0, -1, None, b""),
        Record("t", 1, -1, None, b""),
    ]


def test_given_records_under_our_own_headers_then_they_keep_them_and_the_rest_is_named_anew():
    ours, traced = ((EVENT_ID, b"e1"), (ORIGIN, b"7")), ((EVENT_ID, b"e2"), ("traceparent", b"t"), (ORIGIN, b"8"))
    records = [
        Record("t", 0, -1, b"k1", b"", ours, origin=7),
        Record("t", 0, -1, b"k2", b"", traced, origin=8),
        Record("t", 0, 9, None, b"", ((EVENT_ID, b"e3"), (ORIGIN, b"9"))),
        Record("t", 0, 9, None, b"", ((EVENT_ID, b"other"), (ORIGIN, b"9"))),
    ]
    events = [{"event_id": f"e{number}"} for number in (1, 2, 3, 4)]
    said = answers(records, events, [b"1", b"2", b"3", b"4"], events)
    assert said == [
        Message(b"k1", b"1", ours, events[0]),
        Message(b"k2", b"2", ((EVENT_ID, b"e2"),), events[1]),
        Message(None, b"3", records[2].headers, events[2]),
        Message(None, b"4", ((EVENT_ID, b"e4"),), events[3]),
    ]
    assert [said[0].headers is ours, said[2].headers is records[2].headers] == [True, True]

"""What is written by columns is what the codec writes body by body, or is left to it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidevane.pieces import BOOLEAN, Layout, doubles, few, longs, maps, optional, sizes, texts, vectors
from guidevane.writer import UNFIT, writer

TIMES = st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)
LONGS = st.integers(-(2**63), 2**63 - 1)


def written(kind, values):
    """Return what the writer makes of each value as the only field of a record."""
    write = writer({"type": "record", "name": "one", "fields": [{"name": "f", "type": kind}]})
    return [write({"f": value}) for value in values]


@given(st.one_of(st.lists(TIMES, max_size=20), st.lists(LONGS, max_size=20), st.lists(st.one_of(TIMES, LONGS))))
def test_given_any_whole_numbers_then_they_are_written_as_the_writer_does(values):
    assert longs(values) == written("long", values)


@pytest.mark.parametrize("odd", [1.5, "1", None, 1 << 70])
@pytest.mark.parametrize("among", [0, 20])
def test_given_no_whole_number_of_64_bits_among_times_then_it_is_not_written(odd, among):
    with pytest.raises(UNFIT):
        longs([1_700_000_000_000_000] * among + [odd])


@given(st.lists(st.text(max_size=200)))
def test_given_any_texts_then_they_are_written_as_the_writer_does(values):
    assert texts(values) == few(values) == written("string", values)


@given(st.lists(st.binary(max_size=200)))
def test_given_any_bytes_then_their_sizes_stand_before_them(values):
    assert [size + value for size, value in zip(sizes(values), values, strict=True)] == written("bytes", values)


@given(st.lists(st.one_of(st.none(), st.floats())))
def test_given_numbers_some_of_which_are_missing_then_they_are_written_as_the_writer_does(values):
    column = optional(
        [value is not None for value in values], doubles(np.array([math.nan if v is None else v for v in values]))
    )
    layout = Layout({"fields": [{"name": "f"}]}, b"")
    assert layout(len(values), {"f": column}) == written(["null", "double"], values)


def test_given_maps_that_are_equal_but_not_the_same_then_one_is_written_for_all():
    first, other, again = maps([{"sex": "1", "race": "2"}, {"race": "2", "sex": "1"}, {"sex": "1", "race": "2"}])

    assert first is again
    assert first != other


def test_given_a_map_that_holds_no_text_among_maps_then_none_is_written():
    for odd in (1, None, [], b"1"):
        with pytest.raises(UNFIT):
            maps([{"sex": "1"}, {"sex": odd}])


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)))
def test_given_maps_some_of_which_are_shared_then_they_are_written_as_the_writer_does(values):
    twice = [*values, *values]
    assert maps(twice) == written({"type": "map", "values": "string"}, twice)


@given(st.integers(0, 5), st.integers(0, 5))
def test_given_a_matrix_then_each_row_is_its_bytes(rows, width):
    matrix = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    assert vectors(matrix) == [row.tobytes() for row in matrix]


def test_given_booleans_then_they_are_written_as_the_writer_does():
    assert [BOOLEAN[value] for value in (True, False)] == written("boolean", (True, False))


def test_given_a_field_without_a_column_or_two_of_different_lengths_then_nothing_is_joined():
    layout = Layout({"fields": [{"name": "a"}, {"name": "b"}]}, b"")
    for columns in ({"a": [b"1"]}, {"a": [b"1"], "b": [b"1", b"2"]}):
        with pytest.raises(UNFIT):
            layout(1, columns)

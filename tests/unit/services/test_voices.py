"""What is read of a prediction by a pattern is what its decoder reads, whatever members say."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.columns import FEWEST
from guidevane.errors import Reject
from guidevane.events import MemberStatus, OutcomeKind
from guidevane.log import Record
from guidevane.services.passing import Reads, Scored
from guidevane.services.postprocess.voices import READ, TOLD, Voices, models_of

CODEC = Codec(Catalogue())
FEW = st.sampled_from(["", "a", "deep", "1", "\x02", "é" * 40])
MEMBER = st.fixed_dictionaries({
    "name": FEW,
    "version": FEW,
    "score": st.none() | st.floats(allow_nan=False),
    "status": st.sampled_from(get_args(MemberStatus)),
    "latency_us": st.integers(0, 2**40),
})  # fmt: skip
PREDICTION = st.fixed_dictionaries({
    "event_id": st.text(max_size=8),
    "event_time_us": st.just(1_700_000_000_000_000),
    "deadline_us": st.just(1_700_000_000_250_000),
    "score": st.none() | st.floats(allow_nan=False),
    "outcome": st.sampled_from(get_args(OutcomeKind)),
    "members": st.lists(MEMBER, max_size=3),
    "batch_size": st.integers(0, 2**20),
    "queued_us": st.integers(0, 2**40),
    "protected": st.dictionaries(FEW, FEW, max_size=2),
})  # fmt: skip


def read(reads: Reads[Scored], *predictions: dict) -> list[Scored]:
    """Read predictions, again and again until they are many; return them as they were read the first time."""
    values = [CODEC.encode("prediction", each) for each in predictions] * FEWEST
    return reads([Record("p.predictions", 0, 7, b"k", value) for value in values])[: len(predictions)]


@settings(deadline=None)
@given(st.lists(PREDICTION, min_size=1, max_size=8))
def test_whatever_members_said_it_is_read_as_the_decoder_reads_it(predictions):
    reads: Reads[Scored] = Reads(CODEC, "prediction", READ, Voices, TOLD)
    # The second time all of it is known, as far as anything is remembered.
    for _ in range(2):
        for found, prediction in zip(read(reads, *predictions), predictions, strict=True):
            assert found["models"] == models_of(prediction["members"])
            for name in ("event_id", "deadline_us", "score", "outcome", "protected"):
                assert repr(found[name]) == repr(prediction[name])


def prediction(*versions: str, sex: str = "1") -> dict:
    said = [
        {"name": f"m{at}", "version": v, "score": 0.5, "status": "ok", "latency_us": 900}
        for at, v in enumerate(versions)
    ]
    return {
        "event_id": "e", "event_time_us": 1_700_000_000_000_000, "deadline_us": 1_700_000_000_250_000, "score": 0.5,
        "outcome": "full", "members": said, "batch_size": 1, "queued_us": 1, "protected": {"sex": sex},
    }  # fmt: skip


def test_what_was_seen_before_is_not_read_again_and_what_is_new_is():
    picked = []

    def counting(pick):
        def pick_and_count(value, at):
            picked.append(at)
            return pick(value, at)

        return Voices(pick_and_count)

    reads: Reads[Scored] = Reads(CODEC, "prediction", READ, counting, TOLD)
    first, again = read(reads, prediction("1", "2"), prediction("1", "2"))
    assert len(picked) == 1
    assert again["models"] == first["models"] == {"m0": "1", "m1": "2"}
    # A release, the one before it again, another group, and fewer members.
    for new, seen in ((("1", "3"), False), (("1", "2"), True), (("1", "3"), True), (("4",), False)):
        picked.clear()
        assert read(reads, prediction(*new))[0]["models"] == {f"m{at}": v for at, v in enumerate(new)}
        assert bool(picked) != seen
    picked.clear()
    assert [each["protected"] for each in read(reads, *[prediction("4", sex=sex) for sex in "2122"])] == [
        {"sex": sex} for sex in "2122"
    ]
    assert len(picked) == 1


def test_versions_beyond_those_that_are_told_apart_are_read_all_the_same():
    reads: Reads[Scored] = Reads(CODEC, "prediction", READ, Voices, TOLD)
    for version in [str(at) for at in range(40)] * 2:
        assert read(reads, prediction(version, "x"))[0]["models"] == {"m0": version, "m1": "x"}


@pytest.mark.parametrize("wrong", [b"", b"\0", b"\x02\x02a"])
def test_what_is_behind_known_members_and_no_protected_fields_is_refused(wrong):
    reads: Reads[Scored] = Reads(CODEC, "prediction", READ, Voices, TOLD)
    read(reads, prediction("1"))
    value = CODEC.encode("prediction", prediction("1"))
    cut = value[: -len(b"\x02\x06sex\x021\x00")]
    if wrong == b"\0":
        # No fields at all are protected fields, too.
        assert reads([Record("p.predictions", 0, 7, b"k", cut + wrong)] * FEWEST)[0]["protected"] == {}
        return
    with pytest.raises(Reject):
        reads([Record("p.predictions", 0, 7, b"k", cut + wrong)] * FEWEST)

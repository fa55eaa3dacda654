"""The reading commands show every record, whatever is in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from guidevane.catalogue import Catalogue
from guidevane.codec import Codec
from guidevane.commands import dlq, topics
from guidevane.commands.cluster import bootstrap_of, codec_for, name_of
from guidevane.commands.letters import Wanted, moment_ms, named, one
from guidevane.commands.records import as_json, plain, shown
from guidevane.errors import Misconfigured, Reject
from guidevane.log import Message, Record
from guidevane.log.memory import MemoryLog
from guidevane.runtime.deadletter import dead_letter, reasons

CODEC = Codec(Catalogue())
LABEL = {"event_id": "e1", "label": 1.0, "observed_at_us": None}


async def lines_of(log: MemoryLog, topic: str, **options) -> list[dict]:
    lines: list[dict] = []
    options = {"from_start": True, "until_end": True, "most": None} | options
    await topics.follow(log, topic, CODEC, lines.append, **options)
    return [orjson.loads(as_json(line)) for line in lines]


async def test_given_avro_json_and_rubbish_then_each_is_shown_as_well_as_can_be() -> None:
    log = MemoryLog()
    values = [CODEC.encode("label", LABEL), b'{"event_id": "e2"}', b"\x00\xff", None]
    await log.append("x.labels", 0, [Message(b"k", value, (("h", b"\xfe"), ("t", b"text"))) for value in values])

    lines = await lines_of(log, "x.labels")

    assert [line["value"] for line in lines] == [LABEL, {"event_id": "e2"}, {"base64": "AP8="}, None]
    assert [line["offset"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["key"] == "k"
    assert lines[0]["headers"] == {"h": {"base64": "/g=="}, "t": "text"}


async def test_given_a_limit_then_it_stops_there() -> None:
    log = MemoryLog()
    await log.append("t", 0, [Message(None, b"%d" % n) for n in range(10)])
    assert [line["value"] for line in await lines_of(log, "t", most=3, until_end=False)] == [0, 1, 2]


async def test_given_an_empty_topic_then_until_the_end_is_at_once() -> None:
    assert await lines_of(MemoryLog(partitions=3), "t") == []


async def test_given_a_topic_that_ends_in_a_transaction_then_its_end_is_found_while_others_go_on() -> None:
    log = MemoryLog(partitions=2)
    holder = await log.transactions("t-1", name="p")
    await holder.begin()
    await holder.send("t", 1, [Message(None, b"1")])
    await holder.commit("g", {})
    await log.append("t", 0, [Message(None, b"0")])

    async def flow() -> None:
        while True:
            await log.append("t", 0, [Message(None, b"later")])
            await asyncio.sleep(0)

    flowing = asyncio.create_task(flow())
    async with asyncio.timeout(20):
        found = await lines_of(log, "t")
    flowing.cancel()
    assert {line["value"] for line in found} >= {0, 1}
    assert len(found) < 1000


async def test_given_a_dead_letter_then_its_reasons_stand_apart_from_its_own_headers() -> None:
    log = MemoryLog()
    record = Record("x.events", 2, 7, b"k", b"{", (("mine", b"1"),))
    await log.append(
        "x.dlq", 0, [dead_letter(record, Reject("truncated", "ends"), stage="ingest", group="g", now_us=9)]
    )
    (line,) = await lines_of(log, "x.dlq")
    assert line["headers"] == {"mine": "1"}
    assert line["reasons"]["exception.class"] == "truncated"
    assert line["value"] == {"base64": "ew=="}


async def test_given_dead_letters_then_they_are_filtered_and_the_newest_kept() -> None:
    log = MemoryLog(partitions=2)
    for n in range(20):
        record = Record("x.events", 0, n, None, b"{}")
        letter = dead_letter(
            record, Reject("a" if n % 4 else "b", "why"), stage="ingest" if n % 2 else "inference", group="g", now_us=n
        )
        await log.append("x.dlq", n % 2, [letter])

    assert len(await dlq.newest(log, "x", CODEC, Wanted(), most=50)) == 20
    assert len(await dlq.newest(log, "x", CODEC, Wanted(), most=3)) == 3
    assert len(await dlq.newest(log, "x", CODEC, Wanted(stage="inference"), most=50)) == 10
    assert len(await dlq.newest(log, "x", CODEC, Wanted(stage="inference", cause="b"), most=50)) == 5
    assert len(await dlq.newest(log, "x", CODEC, Wanted(partition=1, places=frozenset({"1/3", "0/1"})), most=50)) == 1
    assert reasons(await one(log, "x.dlq", "1/3"))["offset"] == "7"


@pytest.mark.parametrize(
    ("place", "says"), [("1", "partition/offset"), ("9/0", "partitions 0 to 1"), ("0/5", "ends at 0")]
)
async def test_given_a_place_that_is_none_then_that_is_said(place: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        await one(MemoryLog(partitions=2), "x.dlq", place)


async def test_given_places_of_which_one_holds_no_letter_then_it_is_named_and_nothing_is_found() -> None:
    log = MemoryLog(partitions=2)
    await log.append("x.dlq", 1, [Message(None, b"dead")])
    assert len(await named(log, "x.dlq", Wanted(places=frozenset({"1/0"})))) == 1
    with pytest.raises(Misconfigured, match="has no record at 1/7"):
        await named(log, "x.dlq", Wanted(places=frozenset({"1/0", "1/7"})))


def test_given_more_days_than_there_ever_were_then_that_is_a_time_before_all() -> None:
    assert moment_ms("99999999999d", 0) < 0


def test_given_a_module_whose_name_is_not_its_pipelines_then_the_pipelines_counts(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "flow.py").write_text("from guidevane.pipelines.employment import pipeline as mine\n")
    assert name_of("flow:mine") == "employment"
    with pytest.raises(Misconfigured, match="'yours' is not there → one of: mine"):
        name_of("flow:yours")


async def test_given_letters_that_died_at_other_times_then_those_between_two_times_are_found() -> None:
    log = MemoryLog()
    for second in range(10):
        record = Record("x.events", 0, second, None, b"", (("event_id", b"e%d" % second),))
        letter = dead_letter(record, Reject("c", "why"), stage="s", group="g", now_us=second * 1_000_000)
        await log.append("x.dlq", 0, [letter])
    since, until = moment_ms("1970-01-01T00:00:03", 0), moment_ms("2s", 9_000_000)
    found = await dlq.newest(log, "x", CODEC, Wanted(since_ms=since, until_ms=until), most=50)
    assert [letter["headers"]["event_id"] for letter in found] == ["e3", "e4", "e5", "e6"]
    (only,) = await dlq.newest(log, "x", CODEC, Wanted(event_id="e8"), most=50)
    assert (only["offset"], only["redriven"]) == (8, None)


@pytest.mark.parametrize("said", ["yesterday", "5", "m", "2026-99-01"])
def test_given_a_time_that_is_none_then_that_is_said(said: str) -> None:
    with pytest.raises(Misconfigured, match="is no time"):
        moment_ms(said, 0)


async def test_given_a_pipeline_then_all_its_topics_are_listed_with_what_they_carry() -> None:
    log = MemoryLog(partitions=2)
    await log.append("x.events", 1, [Message(None, b"")] * 5)
    rows = {row["topic"]: row for row in await topics.overview(log, "x")}
    assert rows["x.events"]["records_ever"] == 5
    assert {"x.decisions", "x.dlq", "guidevane.telemetry", "guidevane.audit"} <= set(rows)
    assert all(row["carries"] for row in rows.values())


@given(value=st.none() | st.binary(max_size=80), key=st.none() | st.binary(max_size=8), header=st.binary(max_size=8))
def test_given_any_bytes_then_a_record_is_one_line_of_json(
    value: bytes | None, key: bytes | None, header: bytes
) -> None:
    record = Record("x.events", 0, 0, key, value, (("h", header), ("__value_schema_id", header)))
    line = as_json(shown(record, CODEC))
    assert "\n" not in line
    assert orjson.loads(line)["offset"] == 0


@given(text=st.text())
def test_given_any_text_then_a_terminal_only_shows_it(text: str) -> None:
    assert plain(text).isprintable()


def test_where_kafka_is_comes_from_the_option_then_the_environment_then_the_runner(tmp_path: Path) -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "env:1"}
    assert bootstrap_of("given:1", tmp_path, environ) == "given:1"
    assert bootstrap_of(None, tmp_path, environ) == "env:1"
    with pytest.raises(Misconfigured, match="guidevane up"):
        bootstrap_of(None, tmp_path, {})


def test_given_a_topic_of_an_example_then_its_own_contract_is_known() -> None:
    assert "employment.record" in codec_for("employment.events", None).catalogue.names()
    assert "employment.record" not in codec_for("mine.events", None).catalogue.names()


@pytest.mark.parametrize(("app", "names"), [(topics.app, ["list", "tail"]), (dlq.app, ["list", "show", "redrive"])])
def test_every_command_explains_itself(app, names: list[str]) -> None:
    for name in names:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0
        assert "--bootstrap" in result.output

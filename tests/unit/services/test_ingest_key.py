"""Given the key of the pseudonyms, when it is gone or cannot be read, then nobody gets another name in silence."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.services.windowed import PIPELINE

from guidevane.catalogue import Catalogue
from guidevane.clock import SystemClock
from guidevane.codec import Codec
from guidevane.errors import Misconfigured
from guidevane.log import Message
from guidevane.log.memory import MemoryLog
from guidevane.pipeline import Pipeline
from guidevane.runtime.room import Room
from guidevane.services.ingest.key import drawn, key_of
from guidevane.services.ingest.settings import IngestSettings
from guidevane.telemetry.health import Health
from guidevane.telemetry.metrics import Metrics
from guidevane.telemetry.tracing import NoTracer


@pytest.fixture(autouse=True)
def _no_key_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GUIDEVANE_PSEUDONYM_KEY", "GUIDEVANE_PSEUDONYM_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def room(log: MemoryLog, state_dir: Path, pipeline: Pipeline = PIPELINE, **told: object) -> Room[IngestSettings]:
    clock, catalogue = SystemClock(), Catalogue()
    return Room(
        "ingest", IngestSettings(state_dir=state_dir, **told), pipeline, log, clock, catalogue, Codec(catalogue),
        Metrics(pipeline.name, "ingest", "i"), Health(clock), NoTracer(), asyncio.Event(),
    )  # fmt: skip


async def accepted_before(pipeline: Pipeline = PIPELINE) -> MemoryLog:
    log = MemoryLog(1)
    await log.append(pipeline.topics.accepted, 0, [Message(b"k", b"an accepted event")])
    return log


async def test_given_nothing_yet_then_a_key_is_drawn_for_its_owner_alone_and_kept(tmp_path):
    folder = tmp_path / "made"
    key = await key_of(room(MemoryLog(1), folder))
    assert len(key) >= 32
    kept = folder / "pseudonym.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == ["pseudonym.key"]
    assert await key_of(room(await accepted_before(), folder)) == key


async def test_given_events_under_a_key_that_is_gone_then_another_is_drawn_and_both_ways_out_are_told(tmp_path, caplog):
    key = await key_of(room(await accepted_before(), tmp_path))
    assert (tmp_path / "pseudonym.key").read_bytes() == key
    assert str(tmp_path / "pseudonym.key") in caplog.text
    assert "put that file back" in caplog.text
    assert "GUIDEVANE_PSEUDONYM_KEY=" in caplog.text


async def test_given_events_under_a_key_that_is_told_then_nothing_is_drawn_or_said(tmp_path, caplog):
    told = await key_of(room(await accepted_before(), tmp_path, pseudonym_key="a key that somebody chose"))
    assert told == b"a key that somebody chose"
    assert not list(tmp_path.iterdir())
    assert not caplog.text


async def test_given_a_pipeline_without_personal_fields_then_no_key_is_missed(tmp_path, caplog):
    nobody = replace(PIPELINE, event=replace(PIPELINE.event, pii=()))
    assert await key_of(room(await accepted_before(nobody), tmp_path, nobody))
    assert not caplog.text


def test_given_many_who_draw_at_once_then_all_have_one_key(tmp_path):
    async def together() -> list[bytes]:
        return await asyncio.gather(*(asyncio.to_thread(drawn, tmp_path / "pseudonym.key") for _ in range(16)))

    assert len(set(asyncio.run(together()))) == 1


@pytest.mark.parametrize("content", [b"", b"short"])
def test_given_a_kept_key_that_is_none_then_its_file_is_named(tmp_path, content):
    path = tmp_path / "pseudonym.key"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=f"pseudonym.key: .* has {len(content)} bytes"):
        drawn(path)


def test_given_a_place_where_no_key_can_lie_then_it_is_named(tmp_path):
    (tmp_path / "state").write_text("a file, no folder")
    with pytest.raises(Misconfigured, match=r"cannot be kept in .*state/pseudonym\.key"):
        drawn(tmp_path / "state" / "pseudonym.key")


def test_given_a_key_file_that_is_not_there_then_its_setting_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"GUIDEVANE_PSEUDONYM_KEY_FILE=.*nowhere cannot be read"):
        IngestSettings(state_dir=tmp_path, pseudonym_key_file=tmp_path / "nowhere").secret()

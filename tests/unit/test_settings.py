"""Settings: one environment serves every room, and a misspelt name refuses to start."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

import guidevane
from guidevane.errors import Misconfigured
from guidevane.services.admin.settings import AdminSettings
from guidevane.services.controller.settings import ControllerSettings
from guidevane.services.inference.settings import InferenceSettings
from guidevane.services.ingest.settings import IngestSettings
from guidevane.services.monitors.settings import MonitorsSettings
from guidevane.settings import PREFIX, ROOM_SETTINGS, RoomSettings, read_settings

KINDS = (AdminSettings, ControllerSettings, InferenceSettings, IngestSettings, MonitorsSettings)
ROOMS = Path(guidevane.__file__).parent / "services"
KNOWN = {f"{PREFIX}{name}".upper() for kind in (RoomSettings, *KINDS) for name in kind.model_fields}


@pytest.fixture(autouse=True)
def _an_environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith((PREFIX, "KAFKA_"))]:
        monkeypatch.delenv(name)


def test_given_every_rooms_settings_then_the_names_known_to_all_are_exactly_theirs():
    own = {name for kind in KINDS for name in kind.model_fields} - set(RoomSettings.model_fields)
    assert set(ROOM_SETTINGS) == own


def test_given_every_file_with_settings_then_this_test_knows_its_kind():
    written = {f"guidevane.services.{path.parent.name}.settings" for path in ROOMS.glob("*/settings.py")}
    assert {kind.__module__ for kind in KINDS} == written
    for module in written:
        kinds = [each for each in vars(importlib.import_module(module)).values() if _own_kind(each, module)]
        assert len(kinds) == 1, module


def _own_kind(each: object, module: str) -> bool:
    return isinstance(each, type) and issubclass(each, RoomSettings) and each.__module__ == module


@pytest.mark.parametrize("kind", [RoomSettings, *KINDS], ids=lambda kind: kind.__name__)
def test_given_one_environment_for_all_rooms_then_each_takes_what_is_its_own(kind, monkeypatch):
    monkeypatch.setenv("GUIDEVANE_PIPELINE", "mine:pipeline")
    monkeypatch.setenv("GUIDEVANE_HTTP_PORT", "8080")
    monkeypatch.setenv("GUIDEVANE_ADMIN_PORT", "8088")
    monkeypatch.setenv("GUIDEVANE_MAX_BATCH", "64")
    monkeypatch.setenv("GUIDEVANE_MAX_REPLICAS", "7")
    settings = read_settings(kind)
    assert settings.pipeline == "mine:pipeline"
    assert {name for name in ("http_port", "admin_port", "max_batch", "max_replicas") if hasattr(settings, name)} == {
        name for name in ("http_port", "admin_port", "max_batch", "max_replicas") if name in kind.model_fields
    }


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("GUIDEVANE_PIPLINE", "GUIDEVANE_PIPELINE"),
        ("GUIDEVANE_METRIC_PORT", "GUIDEVANE_METRICS_PORT"),
        ("GUIDEVANE_PSEUDONYM_KEYFILE", "GUIDEVANE_PSEUDONYM_KEY_FILE"),
        ("GUIDEVANE_MAXREPLICAS", "GUIDEVANE_MAX_REPLICAS"),
    ],
)
@pytest.mark.parametrize("kind", [RoomSettings, *KINDS], ids=lambda kind: kind.__name__)
def test_given_a_misspelt_name_then_no_room_starts_and_the_nearest_is_named(kind, misspelt, meant, monkeypatch):
    monkeypatch.setenv(misspelt, "1")
    with pytest.raises(Misconfigured) as refused:
        read_settings(kind)
    assert str(refused.value) == f"{misspelt} is no setting → write '{meant}'"


def test_given_several_misspelt_names_then_all_are_named_at_once(monkeypatch):
    monkeypatch.setenv("GUIDEVANE_PIPLINE", "a")
    monkeypatch.setenv("GUIDEVANE_LOG_LEVL", "b")
    with pytest.raises(Misconfigured) as refused:
        read_settings(RoomSettings)
    assert str(refused.value).count("is no setting") == 2


@given(tail=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789", max_size=20))
def test_given_any_name_under_our_prefix_then_it_is_a_setting_or_it_refuses(tail):
    # GUIDEVANE_DATA and GUIDEVANE_MODELS belong to the example's training, and no room minds them.
    name = f"{PREFIX}{tail}"
    with patch.dict(os.environ, {name: "1"}):
        if name in KNOWN or tail in {"DATA", "MODELS"}:
            with suppress(Misconfigured):  # known, but "1" may be no value for it
                read_settings(RoomSettings)
        else:
            with pytest.raises(Misconfigured, match="is no setting"):
                read_settings(RoomSettings)


def test_given_values_that_cannot_be_then_each_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("GUIDEVANE_FETCH_WAIT_S", "60")
    monkeypatch.setenv("GUIDEVANE_MAX_BATCH", "many")
    with pytest.raises(Misconfigured) as refused:
        read_settings(InferenceSettings)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "GUIDEVANE_FETCH_WAIT_S",
        "GUIDEVANE_MAX_BATCH",
    ]


def test_given_secrets_then_printing_the_settings_does_not_tell_them(monkeypatch):
    monkeypatch.setenv("GUIDEVANE_HTTP_TOKEN", "a-token-of-the-door")
    monkeypatch.setenv("GUIDEVANE_PSEUDONYM_KEY", "a-key-of-the-pseudonyms")
    said = repr(read_settings(IngestSettings))
    assert "a-token" not in said
    assert "a-key" not in said


def test_given_settings_then_they_do_not_change():
    with pytest.raises(Exception, match="frozen"):
        read_settings(RoomSettings).pipeline = "other"


def start_misspelt(folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GUIDEVANE_PIPLINE": "employment"}
    room = [sys.executable, "-m", "guidevane.services.postprocess"]
    return subprocess.run(room, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_given_a_misspelt_name_then_the_supervisor_is_told_not_to_try_again(tmp_path):
    assert start_misspelt(tmp_path).returncode == 78


def test_given_a_room_started_with_a_misspelt_name_then_the_process_ends_and_says_what_to_write(tmp_path):
    done = start_misspelt(tmp_path)
    assert done.returncode != 0
    assert "GUIDEVANE_PIPLINE is no setting → write 'GUIDEVANE_PIPELINE'" in done.stderr

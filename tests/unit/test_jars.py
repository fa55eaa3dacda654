"""The pinned jars, fetched from a pretend repository on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from guidevane.errors import Misconfigured
from guidevane.local import jars
from guidevane.local.jars import Jar, cache_dir, classpath, pinned

BYTES = {"org.example:one:1.0": b"one", "org.example:two:2.0": b"two"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Stand in for Maven's: jgo looks into a folder, and nowhere else; ``put`` changes a jar in it."""
    from jgo.maven import Artifact, MavenContext, PythonResolver

    shelf = tmp_path / "repository"

    def put(coordinate: str, content: bytes) -> None:
        group, artifact, version = coordinate.split(":")
        path = shelf.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    class Shelf(PythonResolver):
        def download(self, artifact: Artifact) -> Path:
            found = shelf / artifact.component.path_prefix / artifact.filename
            artifact.cached_path.parent.mkdir(parents=True, exist_ok=True)
            artifact.cached_path.write_bytes(found.read_bytes())
            return artifact.cached_path

    for coordinate, content in BYTES.items():
        put(coordinate, content)
    pins = tmp_path / "pins.txt"
    pins.write_text("".join(f"{name} sha256:{hashlib.sha256(BYTES[name]).hexdigest()}\n" for name in BYTES))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(jars, "pinned", lambda: pinned(pins))
    monkeypatch.setattr(jars, "_context", lambda staging: MavenContext(Shelf(), repo_cache=staging))
    return put


def contents(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_every_jar_on_the_brokers_classpath_is_pinned_once() -> None:
    names = [jar.coordinate for jar in pinned()]
    assert jars.KAFKA in names
    assert jars.LOG_BINDING in names
    assert f"org.apache.kafka:kafka-clients:{jars.VERSION}" in names
    assert len({jar.filename for jar in pinned()}) == len(names)


def test_no_registry_is_named_in_the_pins() -> None:
    assert "/" not in jars.PIN_FILE.read_text()


def test_missing_jars_are_fetched_and_progress_is_told(repository: Callable[[str, bytes], None]) -> None:
    told: list[tuple[str, float | None]] = []
    paths = classpath(lambda what, share: told.append((what, share)))
    assert contents(paths) == [b"one", b"two"]
    assert told == [("Kafka: fetching its jars, 1 of 2", 0.5), ("Kafka: fetching its jars, 2 of 2", 1.0)]
    assert sorted(path.name for path in cache_dir().iterdir()) == ["one-1.0.jar", "two-2.0.jar"]


def test_jars_that_are_there_are_not_fetched_again(
    repository: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = classpath()
    monkeypatch.setattr(jars, "_context", lambda _: pytest.fail("fetched"))
    assert classpath() == first


def test_a_damaged_jar_in_the_cache_is_fetched_anew(repository: Callable[[str, bytes], None]) -> None:
    classpath()[0].write_bytes(b"on")
    assert contents(classpath()) == [b"one", b"two"]


def test_a_jar_that_is_not_the_pinned_one_is_refused(repository: Callable[[str, bytes], None]) -> None:
    repository("org.example:two:2.0", b"evil")
    with pytest.raises(Misconfigured, match=r"org\.example:two:2\.0 does not have the pinned SHA-256"):
        classpath()
    assert not (cache_dir() / "two-2.0.jar").exists()


def test_a_repository_that_does_not_answer_is_said_with_the_remedy(
    repository: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    for path in (tmp_path / "repository").rglob("one-1.0.jar"):
        path.unlink()
    with pytest.raises(Misconfigured, match=r"cannot fetch org\.example:one:1\.0(.*)copy .*guidevane/kafka"):
        classpath()


@pytest.mark.parametrize("line", ["org.example:one sha256:" + "0" * 64, "org.example:one:1.0", "a:b:c sha256:12"])
def test_a_mangled_pin_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text(f"# a comment\n{line}\n")
    with pytest.raises(Misconfigured, match=r"pins\.txt, line 2"):
        pinned(pins)


def test_comments_and_empty_lines_pin_nothing(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text(f"# a comment\n\na:b:c sha256:{'0' * 64}\n")
    assert pinned(pins) == (Jar("a:b:c", "0" * 64),)

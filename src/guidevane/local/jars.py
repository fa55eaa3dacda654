"""The jars of Apache Kafka: pinned by hash, resolved by jgo, kept in the user's cache.

``kafka-jars.txt`` names every jar on the broker's classpath with its SHA-256. They are fetched one
by one from their coordinates (walking the POMs would take a minute), in parallel, by jgo, which
also reads the mirrors of an organisation from its own ``~/.config/jgo.conf``. Maintainers write the
file anew with ``python -m guidevane.local.jars --pin`` after changing ``KAFKA``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured
from guidevane.local.process import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jgo.maven import MavenContext

VERSION = "4.3.1"
KAFKA = f"org.apache.kafka:kafka_2.13:{VERSION}"
# The broker logs through slf4j and brings log4j, but nothing that joins the two; without it a broker that
# cannot start says nothing. Same version as the log4j it brings.
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"

PIN_FILE = Path(__file__).with_name("kafka-jars.txt")
_AT_ONCE = 8
_ATTEMPTS = 3
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, order=True)
class Jar:
    """One jar by its coordinate (``group:artifact:version``) and the SHA-256 of its bytes."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        """The name of the file, as Maven gives it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def pinned(pin_file: Path = PIN_FILE) -> tuple[Jar, ...]:
    """Return the jars that make up the broker's classpath, as pinned.

    Raises:
        Misconfigured: a line is not ``group:artifact:version sha256:HEX``.
    """
    jars = []
    for number, line in enumerate(pin_file.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        coordinate, _, digest = " ".join(words).partition(" sha256:")
        if coordinate.count(":") != 2 or len(digest) != hashlib.sha256().digest_size * 2:  # noqa: PLR2004 - g:a:v
            raise Misconfigured(f"{pin_file}, line {number}: want `group:artifact:version sha256:HEX`, got {line!r}")
        jars.append(Jar(coordinate, digest))
    return tuple(jars)


def cache_dir() -> Path:
    """Return where the jars of this version are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, below it guidevane/kafka."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "guidevane" / "kafka" / VERSION


def classpath(progress: Progress = silent, wanted: tuple[Jar, ...] | None = None) -> list[Path]:
    """Return the verified jars (the broker's, if not told), after fetching those that are missing; blocks meanwhile.

    Every jar is hashed on every call, so a truncated or altered file never reaches the JVM. Several
    processes may do this at once: a jar appears under its name only when whole and verified.

    Raises:
        Misconfigured: a jar cannot be fetched, or its bytes are not the pinned ones.
    """
    jars, home = pinned() if wanted is None else wanted, cache_dir()
    missing = [jar for jar in jars if not _is_whole(home / jar.filename, jar)]
    if missing:
        _fetch(missing, home, progress)
    return [home / jar.filename for jar in jars]


def _fetch(missing: list[Jar], home: Path, progress: Progress) -> None:
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".fetching-") as staging:
        context = _context(Path(staging))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="guidevane-jars") as pool:
            fetches = {pool.submit(_fetch_one, context, jar, home): jar for jar in missing}
            try:
                for done, fetch in enumerate(as_completed(fetches), start=1):
                    fetch.result()
                    progress(f"Kafka: fetching its jars, {done} of {len(missing)}", done / len(missing))
            finally:
                pool.shutdown(cancel_futures=True)


def _fetch_one(context: MavenContext, jar: Jar, home: Path) -> None:
    path = _resolve(context, jar.coordinate)
    if not _is_whole(path, jar):
        raise Misconfigured(
            f"{jar.coordinate} does not have the pinned SHA-256 {jar.sha256} but {_sha256(path)}. "
            "Something between the Maven repository and this machine altered it: check the mirror or proxy, "
            "and the repositories in jgo's own settings file."
        )
    path.replace(home / jar.filename)


def _resolve(context: MavenContext, coordinate: str) -> Path:
    artifact = context.create_dependency(coordinate).artifact
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(artifact.resolve())
        except (OSError, RuntimeError) as failure:  # requests' errors are OSErrors, jgo's "not found" is a RuntimeError
            # jgo takes any file under the name for whole, so half a download must not stay.
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)
            if attempt == _ATTEMPTS:
                raise Misconfigured(
                    f"cannot fetch {coordinate} for the local Kafka: {failure}. Check the network, the proxy "
                    "(HTTPS_PROXY) and the mirrors in jgo's settings file; or, for a machine without a network, copy "
                    f"{cache_dir()} from one that has run `guidevane up`; or use a broker of your own."
                ) from failure
    raise AssertionError("unreachable: the last attempt returns or raises")


def _context(repo_cache: Path) -> MavenContext:
    # Importing jgo costs a third of a second and is needed only where something is missing.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    mirrors = GlobalSettings.load().repositories or None
    return MavenContext(repo_cache=repo_cache, remote_repos=mirrors, timeout=_TIMEOUT_S)


def _is_whole(path: Path, jar: Jar) -> bool:
    return path.is_file() and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pin(pin_file: Path) -> int:
    """Resolve the classpath from the POMs and write it down; return how many jars it has."""
    with tempfile.TemporaryDirectory() as scratch:
        context = _context(Path(scratch))
        # Kafka alone: resolved together with the binding, the binding's BOM would manage Kafka's own dependencies
        # (it takes kafka-clients back to 3.9, and the broker dies of a NoSuchMethodError).
        inputs, transitive = context.resolver.resolve([context.create_dependency(KAFKA)])
        coordinates = {f"{dep.groupId}:{dep.artifactId}:{dep.version}" for dep in [*inputs, *transitive]}
        coordinates.add(LOG_BINDING)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jars = pool.map(lambda name: Jar(name, _sha256(_resolve(context, name))), coordinates)
            lines = _pin_lines(jars)
    pin_file.write_text("\n".join([*_HEADER, *lines, ""]), encoding="utf-8")
    return len(lines)


_HEADER = (
    f"# The classpath of {KAFKA} and its log binding.",
    "# Written by `python -m guidevane.local.jars --pin`; do not edit.",
)


def _pin_lines(jars: Iterable[Jar]) -> list[str]:
    return [f"{jar.coordinate} sha256:{jar.sha256}" for jar in sorted(jars)]


def main(arguments: list[str] | None = None) -> None:
    """Fetch the pinned jars (say, while an image is built), or with ``--pin`` write the pin file anew."""
    parser = argparse.ArgumentParser(prog="python -m guidevane.local.jars", description=main.__doc__)
    parser.add_argument("--pin", action="store_true", help="resolve the classpath again and rewrite kafka-jars.txt")
    if parser.parse_args(arguments).pin:
        sys.stdout.write(f"{PIN_FILE}: {_pin(PIN_FILE)} jars\n")
    else:
        sys.stdout.write(f"{cache_dir()}: {len(classpath())} jars\n")


if __name__ == "__main__":
    main()

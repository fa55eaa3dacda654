"""What a decision needs of a prediction: its score, and whose models made it.

Half of a prediction is what each member said, of which a decision repeats names and versions. From one event to the
next these hardly differ, so they are not read again and again: what was seen becomes a pattern, and a value that it
matches has been read. Whatever it does not match is read in full, and makes the pattern know it.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final

from guidevane.pieces import maps, texts
from guidevane.services.passing import OUTCOMES, STATUSES
from guidevane.writer import long

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guidevane.events import MemberScore, OutcomeKind
    from guidevane.picker import Pick

READ: Final = ("score", "outcome", "members")
"""What is read of a prediction that is not known yet, beside its protected fields."""
TOLD: Final = ("score", "outcome", "models")
"""What :class:`Voices` tells instead."""
_VARINT: Final = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_SCORE: Final = rb"(?:\x00|\x02.{8})"
_OUTCOMES: Final[Mapping[bytes, OutcomeKind]] = {written: outcome for outcome, written in OUTCOMES.items()}
_DOUBLE: Final = struct.Struct("<d").unpack_from
_NULL: Final = 0
_MOST_VERSIONS, _MOST_GROUPS = 16, 4096
"""Versions of a member that the pattern tells apart, and groups whose protected fields are remembered."""


class Voices:
    """Reads score, outcome, the models' versions and protected fields from behind a prediction's deadline.

    ``pick`` reads what is not known yet (``READ``, then the protected fields), and what it raises is raised.
    """

    def __init__(self, pick: Pick) -> None:
        self._pick = pick
        self._pattern: re.Pattern[bytes] | None = None
        # By place in the ensemble, the name and version that a member was seen with, as they are written.
        self._heads: list[dict[bytes, tuple[str, str]]] = []
        self._models: dict[tuple[bytes, ...], dict[str, str]] = {}
        self._protected: dict[bytes, dict[str, str]] = {}

    def __call__(self, value: bytes, at: int) -> tuple[float | None, OutcomeKind, dict[str, str], dict[str, str]]:
        """Return them; what is shared between predictions is not to be changed."""
        found = self._pattern.match(value, at) if self._pattern is not None else None
        protected = None if found is None else self._protected.get(value[found.end() :])
        if found is None or protected is None:
            return self._learned(*self._pick(value, at))
        outcome, *said = found.groups()
        models = self._models.get(tuple(said))
        if models is None:
            models = self._models[tuple(said)] = self._answered(said)
        return None if value[at] == _NULL else _DOUBLE(value, at + 1)[0], _OUTCOMES[outcome], models, protected

    def _answered(self, said: Sequence[bytes]) -> dict[str, str]:
        """Return the versions of those whose status says that they answered, by what the pattern found of each."""
        heads = zip(self._heads, said[::2], said[1::2], strict=True)
        return dict(known[head] for known, head, status in heads if status == STATUSES["ok"])

    def _learned(
        self, score: float | None, outcome: OutcomeKind, members: Sequence[MemberScore], protected: dict[str, str]
    ) -> tuple[float | None, OutcomeKind, dict[str, str], dict[str, str]]:
        if len(self._protected) >= _MOST_GROUPS:
            self._protected.clear()
        self._protected[maps([protected])[0]] = protected
        heads = [b"".join(texts([each["name"], each["version"]])) for each in members]
        if len(heads) != len(self._heads) or any(len(known) >= _MOST_VERSIONS for known in self._heads):
            self._heads, self._models, self._pattern = [{} for _ in heads], {}, None
        if any(head not in known for known, head in zip(self._heads, heads, strict=True)) or self._pattern is None:
            for known, head, each in zip(self._heads, heads, members, strict=True):
                known[head] = each["name"], each["version"]
            self._pattern = self._of_heads()
        return score, outcome, models_of(members), protected

    def _of_heads(self) -> re.Pattern[bytes]:
        members = [
            b"(" + b"|".join(map(re.escape, known)) + b")" + _SCORE + b"(" + _symbols(STATUSES) + b")" + _VARINT
            for known in self._heads
        ]
        count = re.escape(long(len(members))) if members else b""
        # Behind the members, the size of the batch and how long the event waited; the protected fields are the rest.
        whole = b"".join([
            _SCORE, b"(", _symbols(OUTCOMES), b")", count, *members, rb"\x00", _VARINT, _VARINT,
        ])  # fmt: skip
        return re.compile(whole, re.DOTALL)


def models_of(members: Sequence[MemberScore]) -> dict[str, str]:
    """Return the versions of the members that answered, by name."""
    return {each["name"]: each["version"] for each in members if each["status"] == "ok"}


def _symbols(enum: Mapping[Any, bytes]) -> bytes:
    return b"[" + b"".join(map(re.escape, enum.values())) + b"]"

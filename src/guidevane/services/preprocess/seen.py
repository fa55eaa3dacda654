"""What the windows saw of one event, on its way from the table to the handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guidevane.services.passing import Opened


class Seen(NamedTuple):
    """An event, decoded, with what each window saw of it by name.

    ``windows`` is ``None`` where the table has counted the event before; ``twice`` where that was in this very life:
    then it came twice, and was answered the first time.
    """

    accepted: Opened
    row: dict[str, Any]
    windows: Mapping[str, float] | None
    twice: bool = False

"""The seam between the delivery modes: how answers leave the process, and how places are written down.

The worker's loop and the stages are the same in both: :class:`guidevane.runtime.effective.Effective`
sends at once and commits now and then, :class:`guidevane.runtime.transactional.Transactional`
lets a flight's answers and its place be seen together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from guidevane.log import Committed, Consumer, Message, Partition
    from guidevane.runtime.places import Place


class Outbox(Protocol):
    """Where one flight's answers go."""

    @property
    def atomic(self) -> bool:
        """Whether all of it is seen together with the place, or none: then what stages remember goes along."""
        ...

    async def post(self, topic: str, number: int, messages: Sequence[Message]) -> Awaitable[int]:
        """Take messages for a partition, behind those posted before; what is returned gives the first one's offset."""
        ...

    async def seal(self) -> None:
        """Say that the flight is answered whole; return when the mode needs nothing more of it.

        Flights seal in the order of their records.
        """
        ...


class Delivery(Protocol):
    """How one life of a worker delivers. Whatever fails raises ``Fenced`` or ``Retryable``, and the life ends."""

    async def own(self, partitions: Sequence[Partition]) -> None:
        """Make sure that nobody else's answers for these appear from now on, as far as the mode can."""
        ...

    def outbox(self, ends: Mapping[Partition, int], places: Mapping[Partition, Place]) -> Outbox:
        """Return where a flight's answers go, that ends before ``ends``; ``places`` is where its partitions are."""
        ...

    async def remember(self, told: Sequence[tuple[str, int, Sequence[Message]]]) -> None:
        """Write what stages remember of answers that are acknowledged, unless it went with them."""
        ...

    async def commit(self, consumer: Consumer, places: Mapping[Partition, Committed]) -> None:
        """Write down places whose answers are acknowledged, unless it is done."""
        ...

    async def disown(self) -> None:
        """Forget all partitions, and what is under way for them."""
        ...

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing that was written for disowned partitions can appear any more, so long at most.

        Tells whether that is so: before, nobody may read from the outputs what is answered.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

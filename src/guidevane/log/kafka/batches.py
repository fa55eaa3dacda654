"""How large a batch each topic takes: what is refused as one may be taken in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guidevane.log import Message

LARGEST_BYTES = 1 << 20
"""What Kafka's topics take unless they are told otherwise."""
_SMALLEST_BYTES = 16 << 10
"""A topic that refuses even these is closed rather than narrow; once it is open again, batches are to be worth it."""


class Batches:
    """What is known of each topic of a cluster: half of what it refused. A producer does not outlive a refusal.

    >>> from guidevane.log import Message
    >>> batches, some = Batches(), [Message(None, bytes(1000))] * 300
    >>> batches.narrower("p.out", some), batches.most("p.out"), batches.most("p.dlq")
    (True, 150000, 1048576)
    >>> batches.narrower("p.out", some[:1])
    False
    """

    def __init__(self) -> None:
        self._most: dict[str, int] = {}

    def most(self, topic: str) -> int:
        """Return how many bytes of messages to send a topic at once; a message that is larger goes alone."""
        return self._most.get(topic, LARGEST_BYTES)

    def narrower(self, topic: str, refused: Sequence[Message]) -> bool:
        """Note that messages were refused for their size; tell whether they may be taken in smaller batches."""
        sizes = [message.size_bytes for message in refused]
        sent = max(min(sum(sizes), self.most(topic)), *sizes)
        least = max(_SMALLEST_BYTES, *sizes)
        if sent <= least:
            return False
        self._most[topic] = max(sent // 2, least)
        return True

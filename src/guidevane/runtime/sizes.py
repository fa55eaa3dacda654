"""How large the messages are that each topic was seen to refuse: such a one is never sent again as it is.

A producer may compress tens of megabytes into a record that its topic takes. What we write of it is compressed
otherwise, or not at all, and has headers of ours besides; a topic may also take less than the one before it. Sent again
and again, one such event would stop its room for good, and all that lies behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guidevane.runtime.deadletter import without_content

if TYPE_CHECKING:
    from guidevane.errors import TooLarge
    from guidevane.log import Message

# A broker closes the connection of whose request is larger than it reads (``socket.request.max.bytes``, 100 MiB unless
# set), and says nothing that could be learned from: no message comes near it.
_LARGEST_BYTES = 32 << 20
# A topic that refuses even these is closed rather than narrow: then what is to be written is held back (DELIVERY).
_SMALL_BYTES = 64 << 10


@dataclass(slots=True)
class Sizes:
    """What is known of each topic: the size of the smallest message that it refused.

    >>> from guidevane.errors import TooLarge
    >>> from guidevane.log import Message
    >>> sizes = Sizes()
    >>> sizes.learn(TooLarge("p.dlq", 2_000_000))
    >>> sizes.fit("p.dlq", Message(None, bytes(2_000_000))), sizes.fit("p.dlq", Message(None, bytes(1_000_000)))
    (False, True)
    >>> sizes.fit("p.out", Message(None, bytes(2_000_000))), sizes.fit("p.out", Message(None, bytes(64 << 20)))
    (True, False)
    """

    refused: dict[str, int] = field(default_factory=dict)

    def learn(self, large: TooLarge) -> None:
        """Note what a topic refused."""
        if large.size_bytes > _SMALL_BYTES:
            self.refused[large.topic] = min(large.size_bytes, self.refused.get(large.topic, large.size_bytes))

    def letter(self, topic: str, whole: Message) -> Message:
        """Return a dead letter as its topic takes it: without what came, where that is too large."""
        return whole if self.fit(topic, whole) else without_content(whole)

    def fit(self, topic: str, message: Message) -> bool:
        """Tell whether a topic may take a message, for all that is known."""
        return message.size_bytes < self.refused.get(topic, _LARGEST_BYTES)

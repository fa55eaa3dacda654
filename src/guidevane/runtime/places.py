"""How far a partition is: what may be committed, and the note that is committed with it.

The note says how far the outputs had got when everything before the offset was answered. Whoever
takes the partition over reads the outputs from there, and so knows which of the next events are
answered already. It also says how many owners have begun at this offset and got no further: where there
are some, an event may be what ends them (decision 0029).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guidevane.log import Committed

# No topic can have this name.
_BEGUN = "#begun"


@dataclass(slots=True)
class Place:
    """Where one partition is: the next offset to commit, and where its outputs stand, by topic.

    ``begun`` counts the owners who began at this offset, and have committed nothing behind it.
    """

    offset: int
    outputs: dict[str, int] = field(default_factory=dict)
    begun: int = 0

    @classmethod
    def of(cls, committed: Committed | None) -> Place:
        """Return the place that was written down; what is not ours (an operator's reset) reads as nothing known.

        >>> Place.of(Committed(7, "p.accepted=6;p.dlq=1"))
        Place(offset=7, outputs={'p.accepted': 6, 'p.dlq': 1}, begun=0)
        >>> Place.of(Committed(3, "moved by hand")), Place.of(None)
        (Place(offset=3, outputs={}, begun=0), Place(offset=0, outputs={}, begun=0))
        """
        if committed is None:
            return cls(0)
        pairs = (part.rpartition("=") for part in committed.note.split(";"))
        noted = {topic: int(end) for topic, _, end in pairs if topic and end.isdigit()}
        begun = noted.pop(_BEGUN, 0)
        return cls(committed.offset, noted, begun)

    def advance(self, offset: int, outputs: dict[str, int]) -> None:
        """Everything before ``offset`` is answered, with outputs acknowledged up to ``outputs``.

        A place never goes back: a transaction may be ahead of the flights in it, which land one by one.
        """
        self.offset = max(offset, self.offset)
        self.begun = 0
        for topic, end in outputs.items():
            self.outputs[topic] = max(end, self.outputs.get(topic, 0))

    def committed(self) -> Committed:
        """Return what is written down for it.

        >>> Place(7, {"p.dlq": 1, "p.accepted": 6}).committed()
        Committed(offset=7, note='p.accepted=6;p.dlq=1')
        >>> Place.of(Place(7, begun=2).committed()).begun
        2
        """
        noted = self.outputs | ({_BEGUN: self.begun} if self.begun else {})
        return Committed(self.offset, ";".join(f"{topic}={end}" for topic, end in sorted(noted.items())))

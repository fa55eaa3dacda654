"""How far a partition is: what may be committed, and the note that is committed with it.

The note says how far the outputs had got when everything before the offset was answered. Whoever
takes the partition over reads the outputs from there, and so knows which of the next events are
answered already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guidevane.log import Committed


@dataclass(slots=True)
class Place:
    """Where one partition is: the next offset to commit, and where its outputs stand, by topic."""

    offset: int
    outputs: dict[str, int] = field(default_factory=dict)

    def advance(self, offset: int, outputs: dict[str, int]) -> None:
        """Everything before ``offset`` is answered, with outputs acknowledged up to ``outputs``.

        A place never goes back: a transaction may be ahead of the flights in it, which land one by one.
        """
        self.offset = max(offset, self.offset)
        for topic, end in outputs.items():
            self.outputs[topic] = max(end, self.outputs.get(topic, 0))

    def committed(self) -> Committed:
        """Return what is written down for it.

        >>> Place(7, {"p.dlq": 1, "p.accepted": 6}).committed()
        Committed(offset=7, note='p.accepted=6;p.dlq=1')
        """
        return Committed(self.offset, ";".join(f"{topic}={end}" for topic, end in sorted(self.outputs.items())))


def outputs_of(note: str) -> dict[str, int]:
    """Read a note again; what is not ours (an operator's reset leaves it empty) reads as nothing known.

    >>> outputs_of("p.accepted=6;p.dlq=1")
    {'p.accepted': 6, 'p.dlq': 1}
    >>> outputs_of("moved by hand")
    {}
    """
    pairs = (part.rpartition("=") for part in note.split(";"))
    return {topic: int(end) for topic, _, end in pairs if topic and end.isdigit()}

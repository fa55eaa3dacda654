"""What was sent, kept outside Kafka; what Kafka holds of it; and the oracles that hold one against the other."""

from guidevane.ledger.check import Allowance, Finding, Oracle, Verdict, judge
from guidevane.ledger.held import Commit, Held, held_of
from guidevane.ledger.ledger import Entry, Ledger, percentiles
from guidevane.ledger.recovery import Recovery, recovery

__all__ = [
    "Allowance", "Commit", "Entry", "Finding", "Held", "Ledger", "Oracle", "Recovery", "Verdict", "held_of", "judge",
    "percentiles", "recovery",
]  # fmt: skip

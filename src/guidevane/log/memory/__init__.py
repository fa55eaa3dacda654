"""A log in memory, with the parts of Kafka that our promises lean on.

Partitions, offsets, groups with rebalancing and notes, static members that come back, fetch
limits, transactions with fencing by epoch, and retention of everything. It keeps the same contract
suite as the real log (``tests/contract/test_log.py``); what it does not have is a network.
"""

from guidevane.log.memory.cluster import MemoryLog
from guidevane.log.memory.group import Group, MemoryConsumer
from guidevane.log.memory.partition import MemoryPartition
from guidevane.log.memory.producer import MemoryProducer, MemoryTransactions

__all__ = ["Group", "MemoryConsumer", "MemoryLog", "MemoryPartition", "MemoryProducer", "MemoryTransactions"]

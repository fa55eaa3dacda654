"""A pipeline under open-loop load, watched, and held to its promise by a ledger outside Kafka."""

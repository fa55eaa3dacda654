"""The drill: faults under load on the real platform, judged by a ledger kept outside Kafka."""

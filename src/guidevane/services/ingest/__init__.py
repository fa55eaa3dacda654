"""Ingest: what enters keeps its contract, once, without names, and with a deadline."""

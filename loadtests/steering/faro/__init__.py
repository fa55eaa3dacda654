"""Faro's ten jobs on one fixed capacity (Jeon et al., EuroSys 2025): who gets how many replicas, and who misses."""

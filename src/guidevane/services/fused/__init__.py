"""The four rooms of the hot path in one process: the same handlers, chained in memory."""

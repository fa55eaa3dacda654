"""What telemetry costs: the hot path in one process, with all of it and without any."""

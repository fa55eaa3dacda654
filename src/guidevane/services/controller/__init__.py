"""The controller room: telemetry in, settings and replicas out, every decision audited."""

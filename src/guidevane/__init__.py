"""Event-driven streaming inference with an end-to-end latency objective."""

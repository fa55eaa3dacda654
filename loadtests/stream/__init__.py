"""The platform, a bare loop, a relay and other ways to do the same work: one broker, one set of events."""

"""Each test of a log runs against both."""

from log_fixture import bootstrap, log, topic

__all__ = ["bootstrap", "log", "topic"]

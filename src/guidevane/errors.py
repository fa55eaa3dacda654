"""Every failure, sorted by what the platform does about it.

::

    GuidevaneError
    ├── Reject          this event can never succeed       → dead letter, at once
    ├── Retryable       the world is not ready yet         → retry in place, up to the deadline
    │   └── Denied      the cluster does not let us        → who runs waits for the right; who starts refuses to
    ├── Fenced          this worker may have been replaced → send nothing more, start over
    │   └── Ousted      its group does not know it any more → the same, and tell where it happens again and again
    └── Misconfigured   a person must change something     → refuse to start, or stop

Anything else that leaves a handler is a bug: the batch is bisected down to the event
that causes it, and that event is dead-lettered as ``bug``.
"""


class GuidevaneError(Exception):
    """The root of all errors that Guidevane raises on purpose."""


class Reject(GuidevaneError):
    """This event can never succeed; ``cause`` is a short stable name for counting.

    >>> Reject("truncated", "event e1 ends after 3 of 20 bytes").cause
    'truncated'
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Retryable(GuidevaneError):
    """The world is not ready: the same call may succeed later."""


class Denied(Retryable):
    """The cluster does not know us, or does not let us: a person must grant it, and then the same call succeeds."""


class TooLarge(Retryable):
    """The log refused a message for its size: sent again as it is, it will be refused again.

    ``topic`` is where it was to go; ``size_bytes`` is that of the largest message that was posted with it.
    """

    def __init__(self, topic: str, size_bytes: int) -> None:
        super().__init__(f"{topic} takes no message of {size_bytes} bytes: see its max.message.bytes")
        self.topic = topic
        self.size_bytes = size_bytes


class Fenced(GuidevaneError):
    """This worker stood still for longer than its session; another may own its partitions."""


class Ousted(Fenced):
    """The group does not know this member any more: its session ended, or another took its name, and so its place."""


class Misconfigured(GuidevaneError):
    """A person must change something; the message says what, and how."""

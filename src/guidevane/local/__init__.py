"""Everything on one machine: Apache Kafka, Ray and the rooms, without Docker, root or an installed Java.

``guidevane up`` and the integration tests start the real things through this package; nothing in
it is an emulator. Each module owns one of them, starts it in a session of its own, binds it to
loopback, and leaves no process behind.
"""

"""The controller on real Kafka and Ray Serve, with members that only take time."""

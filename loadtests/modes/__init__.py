"""What each delivery mode costs: the same room, the same events, one broker, turns interleaved."""

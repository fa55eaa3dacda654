"""What every room tells of itself: declared metrics, health, trace context, and an event a second."""

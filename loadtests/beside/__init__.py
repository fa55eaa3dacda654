"""What the rooms beside the event's own way cost."""

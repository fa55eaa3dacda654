"""What to change, decided from what was seen: pure functions, time arrives in the observation."""

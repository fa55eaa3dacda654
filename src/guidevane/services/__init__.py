"""The rooms: one process each, none imports another; they meet in topics."""

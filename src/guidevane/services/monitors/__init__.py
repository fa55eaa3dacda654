"""The monitors room: watches what flows, joins labels, speaks on topics of its own; never on the hot path."""

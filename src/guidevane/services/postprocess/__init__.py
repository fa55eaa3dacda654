"""Postprocess: scores become decisions."""

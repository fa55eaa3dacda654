"""Inference: vectors become scores, in time."""

"""Preprocess: events become feature vectors."""

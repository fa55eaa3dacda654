"""Pipelines that ship as examples, on real data."""

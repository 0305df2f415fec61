"""Bytes, placements, and the choice."""

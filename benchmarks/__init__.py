"""Measurements: each is a script that prints a table and can write it as JSON. Run from the root: python -m benchmarks.NAME."""

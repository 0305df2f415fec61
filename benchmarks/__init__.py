"""Measurements: each is a script that prints a table and can write it as JSON.

Run from the root: all of them by `python -m benchmarks`, one by `python -m benchmarks.NAME`.
"""

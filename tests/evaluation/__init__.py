"""Evaluations: statistics, what is kept, and runs."""

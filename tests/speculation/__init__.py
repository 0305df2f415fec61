"""Guesses of what is written next, and how many of them are worth reading."""

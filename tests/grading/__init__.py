"""Answers told right from wrong."""

"""Answers that call tools."""

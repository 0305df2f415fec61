"""Tests of the desktop window's room."""

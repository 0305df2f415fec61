"""The engine by itself, and its parts."""

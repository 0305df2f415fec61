"""The page in a window of its own, for those who start programs with a double click."""

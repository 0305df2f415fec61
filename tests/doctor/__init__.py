"""What can be wrong, and its cure."""

"""An engine in a thread, and in a process that may die."""

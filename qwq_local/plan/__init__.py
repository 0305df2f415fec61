"""Which model, placed how, in which memory, how fast, and why (pure)."""

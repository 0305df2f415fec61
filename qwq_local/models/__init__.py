"""The model files: those on this machine, and those that can be pulled."""

"""What there is to run on: found here, or described."""

"""What there is to run on."""

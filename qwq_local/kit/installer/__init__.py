"""What a kit brings to put itself in place: the standard library only, since nothing else is there yet."""

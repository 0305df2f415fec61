"""The endpoint, asked over HTTP and by its official clients."""

"""The files here, and the hub's."""

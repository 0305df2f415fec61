"""`qwq uninstall`: what this program has left on a machine, found, told and taken away; nothing that it does not know by name."""

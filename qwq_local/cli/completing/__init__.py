"""What the TAB key offers in a shell: on click's own completion, with a script of ours for each shell and values that only we know."""

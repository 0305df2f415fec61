"""`qwq chat`: a conversation in the terminal, kept in the history."""

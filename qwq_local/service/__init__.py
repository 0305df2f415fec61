"""`qwq serve` as a service of this user: started with the session, started again when it dies, and removed without a trace."""

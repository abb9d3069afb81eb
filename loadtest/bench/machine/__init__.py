"""What reads and drives the machine, the stack under test, and wrk."""

"""A ledger that comes back older than Redis, and how it is brought up to date."""

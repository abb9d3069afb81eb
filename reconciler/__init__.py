"""Duties that keep Redis and the ledger equal: expire, compare, repair, recover, trim."""

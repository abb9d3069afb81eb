"""The ledger is lost, or comes back as another copy, while buyers come."""

"""The ledger brought up to date from Redis' records, where events are missing for good."""

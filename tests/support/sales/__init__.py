"""Sales for tests: partitions in Redis, rows in the ledger, their histories, their verdicts."""

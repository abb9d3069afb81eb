"""Events from the log into the ledger, each once and in the order of its number."""

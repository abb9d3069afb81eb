"""The ledger's statements, and the transaction that applies one batch with them."""

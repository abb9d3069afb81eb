"""Which of several copies of the ledger counts, and what the others are refused."""

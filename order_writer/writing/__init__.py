"""Batches into the ledger until they are in: retries, poison, gaps, and what the log missed."""

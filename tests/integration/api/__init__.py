"""Calls of the HTTP API on a real gateway: sales, reservations, the ledger's answers, outages."""

"""Redis beside the ledger at one number: what is read, how it is judged, what differs."""

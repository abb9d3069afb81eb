"""Redis made from the ledger: a whole partition anew, or what a comparison found."""

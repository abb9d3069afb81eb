"""Cost against size: what grows with SKUs, lines, sales in the ledger and live sales."""

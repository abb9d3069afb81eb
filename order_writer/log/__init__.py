"""Where events come from: Kafka or the outboxes, behind one protocol; the ledger is unknown."""

"""Events from the outboxes to Kafka, at least once, in the order of their numbers."""

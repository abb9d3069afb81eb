"""The order writer on a real ledger, with the outbox and with Kafka as the event log."""

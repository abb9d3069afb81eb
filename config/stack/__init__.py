"""Real servers as child processes: Redis, PostgreSQL, Kafka."""

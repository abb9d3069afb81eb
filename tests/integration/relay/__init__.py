"""The relay from Redis to Kafka on real servers, and the lease that lets only one lead."""

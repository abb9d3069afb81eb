"""Faults beyond a kill: damaged data, lost primaries, isolated workers, Kafka set back."""

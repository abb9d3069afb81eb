"""Settings, logs, commands, waiting, and what every process does beside its work."""

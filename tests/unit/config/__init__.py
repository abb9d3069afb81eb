"""Settings, logs, commands, waiting, jars, and what every process does beside its work."""

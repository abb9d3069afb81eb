"""How duties are kept running: the lead, pauses, repeated warnings, metrics."""

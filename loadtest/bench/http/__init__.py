"""The contestants over HTTP, round by round: what the part `http` runs."""

"""Locustfiles, each with the plan of its crowd in the TOML file of its name."""

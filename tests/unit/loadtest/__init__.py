"""The load's plans, its HTTP client, and the parts of the verdict."""

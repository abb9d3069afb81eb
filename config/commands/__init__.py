"""The `dropgate` commands; each imports what it starts only when it runs."""

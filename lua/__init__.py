"""The scripts, one for each edge of the state machine, in rooms by subject, and their loader."""

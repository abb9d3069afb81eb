"""The scripts, one for each edge of the state machine, and the loader that assembles them."""

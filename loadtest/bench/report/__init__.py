"""Everything that a run prints and writes."""

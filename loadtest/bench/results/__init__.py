"""Numbers of a run, and the rows, tables and charts made from these numbers."""

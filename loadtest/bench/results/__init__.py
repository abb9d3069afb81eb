"""Numbers of a run, and the rows, tables and charts that are made of them."""

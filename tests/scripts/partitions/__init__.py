"""Scripts of a whole partition: loading, state, stock, reading, recovery, repair, trimming."""

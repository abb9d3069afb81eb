"""Scripts of one reservation: reserve, and every edge from a hold to its end."""

"""Scripts of a waiting room: joining, drawing, calling, leaving, control."""

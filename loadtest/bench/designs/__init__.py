"""Reference designs behind one HTTP front, and bare echoes, as processes."""

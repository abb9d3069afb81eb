"""A batch as arithmetic: which events may be applied, and the rows they become. No I/O."""

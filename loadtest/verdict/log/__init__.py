"""Answers against the log: where in it they were given, and what stock and limits were there."""

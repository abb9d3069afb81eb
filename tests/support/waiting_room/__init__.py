"""Buyers of a sale with a waiting room, over HTTP and as streams of events."""

"""The verdict on a sale: both systems, read at one position, and every invariant judged."""

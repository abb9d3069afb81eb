"""The queue before a sale: places, draws, pace, and what survives a lost Redis."""

"""Who gets in, and how fast: tokens, rate limits, load shedding, the waiting room."""

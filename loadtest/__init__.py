"""Load from outside: drops, scenarios, benchmarks, and the verdict on every invariant."""

"""The reconciler's judgements and duties, by a clock of the tests' own."""

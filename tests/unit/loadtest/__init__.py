"""The load's plans, its HTTP client, the parts of the verdict, and the benchmarks."""

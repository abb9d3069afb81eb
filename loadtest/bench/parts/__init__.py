"""The parts of the benchmarks, one object each; table.py lists them."""

"""Benchmarks side by side: dropgate, bare aiohttp, and other designs, on one machine."""

"""What sends a request of the HTTP contract and remembers its answer."""

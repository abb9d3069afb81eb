"""The HTTP API of one gateway worker; its rooms import one way, from the door to the contract."""

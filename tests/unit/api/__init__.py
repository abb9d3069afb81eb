"""The HTTP API's parts without a server: bodies, fields, addresses, metrics, its description."""

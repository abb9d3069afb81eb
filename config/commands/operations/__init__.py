"""The operators' commands: calls of the HTTP API, and their answers on a terminal."""

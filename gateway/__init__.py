"""The front door of sales: HTTP API, admission, Redis, and the relay of its events."""

"""The way into a gateway: connections, limits, tokens, pages, ports, and nginx in front of it."""

"""From bytes to calls and back: connections, the edge, the hot path, applications, pages."""

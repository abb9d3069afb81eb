"""Settings, the wiring of every process, and the embedded stack of servers."""

"""A simulated drop: its buyers, the rush and the refill, a waiting room, the demonstration."""

"""The reconciler's duties on real servers: comparing, repairing, recovering, rebuilding."""

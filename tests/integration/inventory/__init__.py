"""The gateway's stores on a real Redis: batches, durability, the fence, restores, Sentinel."""

"""The verdict on a whole sale, and the proof that each of its checks can fail."""

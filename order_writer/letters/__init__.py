"""Dead letters after they are stored: published to their topic, replayed on request."""

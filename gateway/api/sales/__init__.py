"""Sales as the API sees them: cached facts, states, stock, snapshots, settlement."""

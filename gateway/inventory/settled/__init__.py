"""What becomes of a settled sale in Redis: its keys go, or the settlement is taken back."""

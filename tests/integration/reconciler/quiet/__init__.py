"""What quiet sales cost the reconciler, and how soon it notices what goes wrong in them."""

"""One checker for each invariant; verdict/run.py lists them."""

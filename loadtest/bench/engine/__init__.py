"""The scripts alone, driven on a Redis of their own."""

"""What operators watch and ask for: figures, health, comparisons, dead letters."""

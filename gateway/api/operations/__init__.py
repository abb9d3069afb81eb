"""What operators watch and request: figures, health, reconciliations, dead letters."""

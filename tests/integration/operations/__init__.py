"""What operators watch, on a real gateway: sales, figures, gauges, audit log, reconciliations."""

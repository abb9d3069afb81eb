"""What clients' answers alone can tell: no order of events explains some answers together."""

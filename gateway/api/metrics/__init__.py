"""What a gateway counts: one catalogue, kept in files that its workers share."""

"""What a run of a scenario leaves: the record, and the report that is made from it."""

"""What makes an event unfit for the ledger."""


class IntegrityViolation(Exception):
    """An event contradicts the history before it (as SQLSTATE class 23 does): poison."""

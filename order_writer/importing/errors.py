"""Why a partition's ledger is not imported."""


class ImportRefused(Exception):
    """Redis is no later copy of the ledger's history: only a person can decide. Nothing changed."""

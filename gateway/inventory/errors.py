"""Errors of the inventory domain, each with whether the same call may be tried again.

InventoryError
├── Recovering        the partition's data or server is not the trusted one; retriable
│   └── PartitionLost     its server answered, and does not have it whole
├── UnknownOutcome    the connection broke while the call was under way; retriable, with the same id
├── Overloaded        a bound on work in flight is reached, nothing was sent; retriable
└── ScriptFailure     the script refused its arguments or failed: a defect; not retriable
"""

from typing import ClassVar


class InventoryError(Exception):
    """Base of the tree above."""

    retriable: ClassVar[bool] = False


class Recovering(InventoryError):
    """The partition answers nobody until recovery has proven or rebuilt it."""

    retriable = True


class PartitionLost(Recovering):
    """Redis was asked and said so: keys of the partition are missing, or are not what they were.

    Only this is a reason to rebuild; a Redis that could not be asked may be serving others well.
    """


class UnknownOutcome(InventoryError):
    """Sent, but not answered: asking again with the same id finds out."""

    retriable = True


class Overloaded(InventoryError):
    """Refused before anything was sent."""

    retriable = True


class ScriptFailure(InventoryError):
    """A script raised, or was called with arguments it does not take."""

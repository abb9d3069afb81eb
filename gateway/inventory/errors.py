"""Errors of the inventory domain; `retriable` says whether the call may be repeated.

InventoryError
├── Recovering        the partition's data or server is not the trusted one; retriable
│   └── PartitionLost     the server answered, and does not have the whole partition
├── UnknownOutcome    the connection broke while the call was under way; retriable, with its id
├── Overloaded        a bound on work in flight is reached, nothing was sent; retriable
└── ScriptFailure     the script refused its arguments or failed: a defect; not retriable
"""

from typing import ClassVar


class InventoryError(Exception):
    """The base of all errors of the domain."""

    retriable: ClassVar[bool] = False


class Recovering(InventoryError):
    """The partition refuses all calls until recovery has proven or rebuilt it."""

    retriable = True


class PartitionLost(Recovering):
    """Redis answered that keys of the partition are missing or have another type or content.

    Only this error is a reason to rebuild; a Redis that did not answer may serve other callers
    well.
    """


class UnknownOutcome(InventoryError):
    """The call was sent but not answered: repeating it with its id returns the outcome."""

    retriable = True


class Overloaded(InventoryError):
    """The call was refused before anything was sent."""

    retriable = True


class ScriptFailure(InventoryError):
    """A script raised an error, or refused its arguments."""

"""Thundering herd: everybody waits for the opening, then everybody comes at once."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

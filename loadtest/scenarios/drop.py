"""Thundering herd: a pre-queue, a draw at the opening, and buyers let in a few at a time."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

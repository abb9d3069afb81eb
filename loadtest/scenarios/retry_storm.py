"""Connections break before the answer, and every client sends its key again and again."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

"""A bit of everything, in waves."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

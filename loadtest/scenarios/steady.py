"""A day in the shop: buyers come and go all the time, and the stock lasts."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

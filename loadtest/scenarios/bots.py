"""One account many times at once, forged tokens, and one token in many places."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

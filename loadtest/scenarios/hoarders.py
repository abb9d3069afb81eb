"""Accounts that hold all they may and abandon it, between buyers who want to pay."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

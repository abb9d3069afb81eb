"""Ten SKUs, and nine of ten buyers want the same SKU, which is soon gone."""

from loadtest.crowd.users import scenario

Buyers, Shape = scenario(__file__, __doc__ or "")

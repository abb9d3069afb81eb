"""Visitors of a load scenario under Locust: who comes when, what they do, one run of all."""

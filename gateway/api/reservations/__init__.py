"""Calls about reservations and orders; `reserve` is the hot path."""

"""Calls about the waiting room: places, event streams, control, the check of a draw."""

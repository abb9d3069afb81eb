"""A sale's waiting room on a real gateway, up to the reservation of who is admitted."""

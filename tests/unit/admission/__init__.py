"""Who may do what: tokens, passes, rates, the draw, and a buyer's view of the waiting room."""

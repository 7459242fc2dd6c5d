"""What to do about a failure: the planner, the guards and the facts they look at. Pure functions, so any decision can be repeated."""

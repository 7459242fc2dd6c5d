"""Is it sick? Checks look, verdicts count, a sweep runs them all and says which services need help."""

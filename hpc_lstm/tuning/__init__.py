"""Search for good settings of a run, judged on validation alone."""

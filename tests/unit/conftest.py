"""The same examples at every start of the tests: whether a test passes must not depend on luck."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline for an example: on a busy machine it takes what it takes. More of what is the same every time finds nothing that fewer do not.
settings.register_profile("repeatable", derandomize=True, database=None, max_examples=40, deadline=None)
# `make fuzz` and `make soak` look for new examples.
settings.register_profile("explore", derandomize=False, max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

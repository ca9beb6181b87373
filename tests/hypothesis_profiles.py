"""Which examples Hypothesis takes.

The same at every start of the tests: whether a test passes must not depend on luck.
"""

from __future__ import annotations

import os

from hypothesis import settings


def load_profile() -> None:
    """Take the profile that ``HYPOTHESIS_PROFILE`` names; without it, the same examples as always."""
    # No deadline for an example: on a busy machine it takes what it takes.
    settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
    # `make fuzz` and `make soak` look for new examples.
    settings.register_profile("explore", derandomize=False, max_examples=1000, deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

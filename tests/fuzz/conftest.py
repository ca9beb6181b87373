"""What the tests of changed inputs share."""

from power import no_power_is_lost

__all__ = ["no_power_is_lost"]

"""Synthetic prices whose best possible forecast is known; ``registry`` lists the kinds."""

"""Where each rank's time went, measured and explained."""

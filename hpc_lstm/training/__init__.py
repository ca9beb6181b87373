"""One run of training, from a market store to a measured model."""

"""Weights between ranks, clusters and disk: averaging, object stores, checkpoints."""

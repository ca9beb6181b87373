"""Prices in: from files, Yahoo or a generator into one HDF5 market store."""

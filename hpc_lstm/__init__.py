"""Train LSTMs on market data across MPI ranks, one GPU a rank, and know what the forecast is worth."""

__version__ = "0.1.0"

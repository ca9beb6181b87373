"""Ranks: the MPI world, a GPU for each rank, averaging over all of them."""

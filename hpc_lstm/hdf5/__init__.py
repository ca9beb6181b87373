"""HDF5 files: written whole or not at all, and read although somebody else may have written them."""

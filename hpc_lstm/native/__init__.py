"""C compiled on this machine, and the cache of compiled code."""

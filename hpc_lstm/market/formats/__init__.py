"""The kinds of files that prices are imported from; a module each."""

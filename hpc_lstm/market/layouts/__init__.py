"""What the columns of a table of prices mean: a module for each layout."""

"""What ``hpc-lstm doctor`` looks at, one module for each kind of thing; ``result`` says what a check returns."""

"""Update rules on the flat weight vector, one a file; ``registry`` holds them all."""

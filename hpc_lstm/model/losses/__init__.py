"""What the network is trained to make small, and what its outputs then mean; ``registry`` lists the losses."""

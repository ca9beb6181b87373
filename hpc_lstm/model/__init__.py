"""Windows to weights: the network, its flat parameter vector, the engines that train it."""

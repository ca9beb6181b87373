"""The simple forecasts that a model is held against; ``registry`` lists them."""

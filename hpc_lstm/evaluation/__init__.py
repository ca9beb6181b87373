"""What a trained model is worth, and its forecasts."""

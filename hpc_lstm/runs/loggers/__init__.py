"""Where a run's curves go while it trains: TensorBoard, MLflow, Weights & Biases."""

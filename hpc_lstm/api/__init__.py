"""The Python API, which ``hpc_lstm`` itself offers: prices, training, and what a trained run can do."""

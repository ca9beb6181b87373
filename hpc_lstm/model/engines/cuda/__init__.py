"""The engine for GPUs: LSTM training in CUDA kernels of our own."""

"""The network in torch: ``nn.LSTM``, with weights taken from Keras's layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class Network(torch.nn.Module):
    """Two LSTM layers with dropout after each, and one dense output, on [B, T, F]."""

    def __init__(self, features: int, units: int, dropout: float) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(features, units, 2, batch_first=True, dropout=dropout)
        self.dropout = torch.nn.Dropout(dropout)
        self.dense = torch.nn.Linear(units, 1)
        # torch has a second bias, for cuDNN's sake. At 0 for good, this is Keras's network, step by step.
        for layer in range(2):
            getattr(self.lstm, f"bias_hh_l{layer}").requires_grad_(False)

    def forward(self, windows: Any) -> Any:
        hidden, _ = self.lstm(windows)
        return self.dense(self.dropout(hidden[:, -1]))

    @torch.no_grad()
    def load_keras(self, weights: list[np.ndarray]) -> None:
        """Gates lie in the order input, forget, cell, output in both; torch's matrices are transposed."""
        for layer in range(2):
            kernel, recurrent, bias = weights[3 * layer : 3 * layer + 3]
            getattr(self.lstm, f"weight_ih_l{layer}").copy_(torch.from_numpy(kernel.T.copy()))
            getattr(self.lstm, f"weight_hh_l{layer}").copy_(torch.from_numpy(recurrent.T.copy()))
            getattr(self.lstm, f"bias_ih_l{layer}").copy_(torch.from_numpy(bias))
            getattr(self.lstm, f"bias_hh_l{layer}").zero_()
        self.dense.weight.copy_(torch.from_numpy(weights[6].T.copy()))
        self.dense.bias.copy_(torch.from_numpy(weights[7]))

"""Which backend a run takes."""

from __future__ import annotations

from typing import get_args

import pytest

from hpc_lstm.config import TrainConfig
from hpc_lstm.cuda import availability
from hpc_lstm.errors import CudaError
from hpc_lstm.parallel import gpu
from hpc_lstm.preprocess import backends, cuda_backend


def test_settings_name_every_backend() -> None:
    assert {"auto", *backends.BACKENDS} == set(get_args(TrainConfig.model_fields["backend"].annotation))


def test_backend_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "cuda_problem", lambda: "there is no NVIDIA driver")
    assert backends.create_backend("auto").name == backends.create_backend("host").name == "host"
    with pytest.raises(CudaError, match=r'train\.backend = "cuda": there is no NVIDIA driver'):
        backends.create_backend("cuda")


def test_auto_falls_back_to_host_where_the_gpu_fails_after_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(share: float) -> None:
        raise CudaError("GPU kernels cannot be compiled: gcc is missing")

    monkeypatch.setattr(availability, "cuda_problem", lambda: None)
    monkeypatch.setattr(cuda_backend, "CudaBackend", fail)
    with caplog.at_level("INFO", "hpc_lstm"):
        assert backends.create_backend("auto").name == "host"
    assert "backend host, not cuda: GPU kernels cannot be compiled: gcc is missing" in caplog.text
    with pytest.raises(CudaError, match=r'train\.backend = "cuda": GPU kernels cannot be compiled'):
        backends.create_backend("cuda")


def test_ranks_on_one_gpu_share_its_memory() -> None:
    shared = gpu.Gpu("0", "Model", "GPU-1", 0, sharers=4)
    assert backends.gpu_rows_share(TrainConfig(gpu_rows_share=0.5), shared) == 0.125
    assert backends.gpu_rows_share(TrainConfig(gpu_rows_share=0.5), None) == 0.5

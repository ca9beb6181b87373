"""torch's DistributedDataParallel over gloo on CPUs, over NCCL on GPUs; or Horovod's optimizer over gloo."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch_lstm import Network
from worker import Job, serve


class Torch:
    """Batches lie where they are computed on, each in one piece; gradients are views of what is sent."""

    def __init__(self, folder: Path, ranks: int, launch: str) -> None:
        self.job, self.rank, self.launch = Job(folder, ranks), int(os.environ["RANK"]), launch
        self.device = torch.device("cpu")
        if self.job.gpu:
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)
        else:
            torch.set_num_threads(self.job.threads)
            torch.set_flush_denormal(True)
        self.hvd: Any = None
        if launch == "horovod":
            import horovod.torch as hvd

            hvd.init()
            self.hvd = hvd
        else:
            torch.distributed.init_process_group("nccl" if self.job.gpu else "gloo")
        self.validation = [
            torch.from_numpy(self.job.array(f"validation_{c}")).to(self.device) for c in ("x", "y")
        ]

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {"versions": {"torch": torch.__version__}, "threads": torch.get_num_threads()}
        if self.job.gpu:
            found["versions"] |= {
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
                "nccl": ".".join(map(str, torch.cuda.nccl.version())),
            }
            found["gpu"] = torch.cuda.get_device_name()
        if self.hvd:
            import horovod

            found["versions"]["horovod"] = horovod.__version__
        return found

    def prepare(self, batch: int, options: dict[str, Any]) -> None:
        job, self.options, self.units = self.job, options, options.get("units", self.job.units)
        self._release()
        torch.backends.mkldnn.enabled = options.get("onednn", True)
        allow = options.get("precision", "float32") != "float32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
        self.x = torch.from_numpy(job.share("train_x", self.rank, batch)).to(self.device)
        self.y = torch.from_numpy(job.share("train_y", self.rank, batch)).to(self.device)
        torch.manual_seed(self.rank)
        self.plain = Network(self.x.shape[-1], self.units, job.dropout).to(self.device)
        self.plain.load_keras(job.weights(self.units))
        graphed = options.get("graph", False)
        # capturable: the count of steps lies on the GPU, without which a step cannot be in a CUDA graph.
        moving = [one for one in self.plain.parameters() if one.requires_grad]
        adam = torch.optim.Adam(moving, job.rate, eps=1e-7, fused=True, capturable=graphed)
        if self.hvd:
            adam = self.hvd.DistributedOptimizer(adam, named_parameters=self._named())
            self.model = self.plain
        else:
            side = torch.cuda.Stream() if graphed else None
            with torch.cuda.stream(side) if side else contextlib.nullcontext():
                self.model = torch.nn.parallel.DistributedDataParallel(
                    self.plain,
                    device_ids=[self.device] if job.gpu else None,
                    gradient_as_bucket_view=True,
                    static_graph=not graphed,
                )
        self.adam = adam
        if graphed:
            self._capture()

    def _release(self) -> None:
        """Give back the memory of what was prepared before: graphs keep theirs, and other ranks share the GPU."""
        self.graph: Any = None
        self.model = self.adam = self.plain = self.place = self.x = self.y = None
        gc.collect()
        if self.job.gpu:
            torch.cuda.empty_cache()

    def _step(self, x: Any, y: Any) -> Any:
        bfloat16 = self.options.get("precision") == "bfloat16"
        with torch.autocast("cuda", torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            loss = torch.nn.functional.mse_loss(self.model(x).float(), y)
        self.adam.zero_grad(set_to_none=self.hvd is None and self.graph is None)
        loss.backward()
        self.adam.step()
        return loss.detach()

    def _named(self) -> list[Any]:
        return [(name, one) for name, one in self.plain.named_parameters() if one.requires_grad]

    def _capture(self) -> None:
        """A whole step as one CUDA graph, of inputs that are copied into place."""
        self.place = self.x[0].clone(), self.y[0].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(11):  # DistributedDataParallel settles its buckets in the first ones
                self._step(*self.place)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # the graph has memory of its own
        graph = torch.cuda.CUDAGraph()
        self.adam.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._step(*self.place)
        self.graph = graph

    def reset(self) -> None:
        self.plain.load_keras(self.job.weights(self.units))
        for state in self.adam.state.values():
            for value in state.values():
                if torch.is_tensor(value):
                    value.zero_()

    def barrier(self) -> None:
        if self.hvd:
            self.hvd.allreduce(torch.zeros(1))
        elif self.job.gpu:
            torch.cuda.synchronize()
            torch.distributed.barrier(device_ids=[self.device.index])
            torch.cuda.synchronize()
        else:
            torch.distributed.barrier()

    def train(self, steps: int) -> None:
        self.plain.train()
        loss = torch.zeros(1)
        for number in range(steps):
            at = number % len(self.x)
            if self.graph is not None:
                self.place[0].copy_(self.x[at])
                self.place[1].copy_(self.y[at])
                self.graph.replay()
            else:
                loss = self._step(self.x[at], self.y[at])
        float(loss)
        if self.job.gpu:
            torch.cuda.synchronize()

    @torch.no_grad()
    def validation_loss(self) -> float:
        self.plain.eval()
        x, y = self.validation
        error = sum(
            float(torch.square(self.plain(x[i : i + 1024]) - y[i : i + 1024]).double().sum())
            for i in range(0, len(x), 1024)
        )
        self.plain.train()
        return error / len(x)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(Torch(folder.parent, int(sys.argv[2]), sys.argv[3]), folder)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

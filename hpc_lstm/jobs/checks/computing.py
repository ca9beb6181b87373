"""What computes: GPUs, TensorFlow, PyCUDA, the C kernels, and the compilers of these and the CUDA kernels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.errors import CudaError
from hpc_lstm.jobs.checks.result import Check, last_number, package_version, run_probe
from hpc_lstm.parallel.gpu import Gpu
from hpc_lstm.processes import PYTHON
from hpc_lstm.text.counts import counted

# Each runs in a process of its own: it initializes CUDA, which this process must not.
_TENSORFLOW_PROBE = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
_BACKEND_PROBE = "from hpc_lstm.cuda.availability import cuda_problem; print(cuda_problem() or '')"
_SPEEDS_PROBE = "from hpc_lstm.jobs.gpu_speeds import known_speeds; print(known_speeds())"
_PYCUDA_PROBE = "import pycuda.driver as d; d.init(); print(d.Device.count())"


@dataclass(frozen=True)
class DriverGpus:
    """What the NVIDIA driver sees: how many GPUs, and the check that says so."""

    number: int
    check: Check


def check_gpus() -> DriverGpus:
    """The GPUs that the NVIDIA driver sees."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        if not Path("/proc/driver/nvidia/version").exists():
            return DriverGpus(0, Check("GPU", "info", "none; training runs on the CPUs"))
        advice = "to see its GPUs: nvidia-smi, which comes with the driver"
        return DriverGpus(1, Check("GPU", "missing", "a driver, but no nvidia-smi", advice))
    output, problem = run_probe(
        [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 20
    )
    names = [line.strip() for line in output.splitlines() if line.strip()]
    if problem or not names:
        return DriverGpus(
            0,
            Check("GPU", "missing", f"nvidia-smi: {problem or 'no GPU'}", "is the driver loaded? see dmesg"),
        )
    return DriverGpus(len(names), Check("GPU", "ok", f"{len(names)}: {'; '.join(dict.fromkeys(names))}"))


def check_tensorflow(gpus: DriverGpus) -> Check:
    """TensorFlow, and how many of the GPUs it sees."""
    version = package_version("tensorflow") or package_version("tensorflow-cpu")
    if version is None:
        found = 'not installed; only train.engine = "keras" needs it: pip install "hpc-lstm[keras]"'
        return Check("TensorFlow", "info", found)
    found = f"{version}, Keras {package_version('keras') or 'not installed'}"
    if gpus.number == 0:
        return Check("TensorFlow", "ok", f"{found}; computes on the CPU")
    output, problem = run_probe([*PYTHON, "-c", _TENSORFLOW_PROBE])
    seen = last_number(output)
    if problem or seen is None:
        return Check(
            "TensorFlow",
            "info",
            f"{found}; cannot be started: {problem}",
            "pip install --force-reinstall tensorflow",
        )
    if seen == 0:
        advice = 'pip install "tensorflow[and-cuda]" brings the CUDA libraries it needs'
        return Check("TensorFlow", "info", f"{found}; sees none of the {gpus.number} GPUs", advice)
    return Check("TensorFlow", "ok", f"{found}; sees {counted(seen, 'GPU')}")


def check_c_kernels() -> list[Check]:
    """What computes the fused engine on CPUs: a build of the installation, and this machine's compiler."""
    from hpc_lstm.files import data_folder
    from hpc_lstm.native import builds, compiler, library

    build = builds.find_build(library.kernel_source("lstm"), "lstm", data_folder("kernels"))
    try:
        version, problem = compiler.find_compiler().version, ""
    except compiler.NoCompiler as error:
        version, problem = "", str(error)
    if build is not None:
        kernels = Check("C kernels", "ok", f"built for {build.level.name}")
    else:
        kernels = Check(
            "C kernels", "info", "no build for this processor is installed; they are compiled here"
        )
    if version:
        return [kernels, Check("C compiler", "ok", version)]
    if build is not None:
        return [kernels, Check("C compiler", "info", f"{problem.partition(':')[0]}; not needed")]
    advice = f'for train.engine = "fused", which otherwise runs slowly in NumPy: {problem}'
    kernels = Check("C kernels", "missing", "no build for this processor is installed")
    return [kernels, Check("C compiler", "missing", problem.partition(":")[0], advice)]


def check_cuda(gpus: DriverGpus) -> list[Check]:
    """PyCUDA, the compiler of the CUDA kernels, and the backend that follows from them."""
    version, advice = package_version("pycuda"), 'for CUDA kernels: pip install "hpc-lstm[gpu]"'
    if version is None and gpus.number == 0:
        pycuda = Check("PyCUDA", "info", 'not installed; only GPUs need it: pip install "hpc-lstm[gpu]"')
    elif version is None:
        pycuda = Check("PyCUDA", "missing", "not installed", advice)
    elif gpus.number == 0:
        pycuda = Check("PyCUDA", "info", f"{version}; no GPU to use it on")
    else:
        output, problem = run_probe([*PYTHON, "-c", _PYCUDA_PROBE])
        seen = last_number(output)
        if problem or seen is None:
            pycuda = Check(
                "PyCUDA",
                "info",
                f"{version}; cannot be started: {problem}",
                "pip install --force-reinstall pycuda",
            )
        else:
            pycuda = Check("PyCUDA", "ok", f"{version}; sees {counted(seen, 'GPU')}")
    backend = _backend(gpus)
    return [pycuda, _kernel_compiler(gpus), backend, *(_speeds() if backend.found.endswith("cuda") else [])]


def _kernel_compiler(gpus: DriverGpus) -> Check:
    """What compiles the CUDA kernels."""
    from hpc_lstm.cuda import compiler

    try:
        found, ignored = compiler.compiler_version(), compiler.ignored_setting()
        return Check("kernel compiler", "ok", f"{found}; {ignored}" if ignored else found)
    except CudaError as error:
        if gpus.number == 0:
            return Check("kernel compiler", "info", "NVRTC not found; only GPUs need it")
        return Check("kernel compiler", "missing", "NVRTC not found", f"to use CUDA kernels: {error}")


def _backend(gpus: DriverGpus) -> Check:
    """What ``train.backend = "auto"`` chooses here, asked of a process of its own, since it starts CUDA."""
    if gpus.number == 0:
        return Check("backend", "ok", 'train.backend = "auto" takes host')
    output, problem = run_probe([*PYTHON, "-c", _BACKEND_PROBE])
    reason = problem or output.strip()
    if not reason:
        return Check("backend", "ok", 'train.backend = "auto" takes cuda')
    return Check("backend", "info", f'train.backend = "auto" takes host: {reason}')


def _speeds() -> list[Check]:
    """What ``train.engine = "auto"`` goes by on this GPU, asked of a process of its own, since it starts CUDA."""
    output, problem = run_probe([*PYTHON, "-c", _SPEEDS_PROBE])
    found = output.strip()
    if problem:
        return [Check("speeds", "info", f"not known: {problem}")]
    advice = (
        "" if "here" in found else "to measure which kernels are fastest on this card: hpc-lstm doctor --tune"
    )
    return [Check("speeds", "info", found or "not measured on such a card; a rule chooses kernels", advice)]


def check_gpu_of_ranks(chosen: list[Gpu | None]) -> list[Check]:
    """The GPU that each rank would use."""
    if not any(chosen):
        return []
    each = [f"rank {rank}: {one.describe() if one else 'none'}" for rank, one in enumerate(chosen[:4])]
    more = f"; {len(chosen) - 4} more" if len(chosen) > 4 else ""
    return [Check("GPU of a rank", "ok", "; ".join(each) + more)]

"""CUDA C++ to machine code by the real NVRTC; other libraries and C stubs stand in for one that is broken or old."""

from __future__ import annotations

import _ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from resource_usage import Resources, resource_usage

from hpc_lstm.cuda import compiler
from hpc_lstm.errors import CudaError, HpcLstmError, InputError
from hpc_lstm.native import code_cache

SOURCE = """\
extern "C" __global__ void add(VALUE* to, const VALUE* from, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) to[i] += from[i] * VALUE(FACTOR);
}
"""
DEFINES: dict[str, str | int] = {"VALUE": "float", "FACTOR": 3}
DIGEST = 32
# A library with NVRTC's interface: it knows two architectures, and "compiles" to a line that says what it was asked.
STUB = """
#include <stdio.h>
#include <string.h>
static char code[200];
int nvrtcVersion(int *major, int *minor) { *major = 10; *minor = 2; return FAILS_AT == 1 ? 7 : 0; }
int nvrtcGetNumSupportedArchs(int *count) { *count = 2; return 0; }
int nvrtcGetSupportedArchs(int *known) { known[0] = 75; known[1] = 80; return 0; }
int nvrtcCreateProgram(void **program, const char *source, const char *name, int n, void *h, void *i) {
    *program = code;
    return 0;
}
int nvrtcCompileProgram(void *program, int count, const char **options) {
    code[0] = 0;
    for (int i = 0; i < count; ++i) { strcat(code, options[i]); strcat(code, " "); }
    return FAILS_AT == 2 ? 7 : 0;
}
int nvrtcDestroyProgram(void **program) { return 0; }
int nvrtcGetCUBINSize(void *program, size_t *size) { *size = strlen(code); return 0; }
int nvrtcGetCUBIN(void *program, char *to) { memcpy(to, code, strlen(code)); return 0; }
int nvrtcGetPTXSize(void *program, size_t *size) { *size = strlen(code); return 0; }
int nvrtcGetPTX(void *program, char *to) { memcpy(to, code, strlen(code)); return 0; }
int nvrtcGetProgramLogSize(void *program, size_t *size) { *size = 1; return 0; }
int nvrtcGetProgramLog(void *program, char *to) { *to = 0; return 0; }
const char *nvrtcGetErrorString(int result) { return "BUILTIN_OPERATION_FAILURE"; }
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and nothing of the caller's settings."""
    for name in ("HPC_LSTM_COMPILER", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("HPC_LSTM_CACHE", str(folder))
    return folder


@pytest.fixture
def no_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVRTC."""
    monkeypatch.setattr(compiler, "NVRTC_LIBRARIES", ("libnvrtc.so.98",))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "add.cu"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_source(text: str) -> Path:
        path = tmp_path / "other.cu"
        path.write_text(text)
        return path

    return write_source


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a CUDA toolkit, in CUDA_HOME, has its libraries; there is none yet."""
    folder = tmp_path / "home" / "lib64"
    folder.mkdir(parents=True)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    return folder


def put_stub(path: Path, fails_at: int = 0) -> None:
    """A stub of NVRTC; the first (1) or the fifth (2) function that is called fails if so wished."""
    code = path.with_suffix(".c")
    code.write_text(STUB.replace("FAILS_AT", str(fails_at)))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(code)], check=True)


def build(path: Path, architecture: str = "sm_90", **defines: str | int) -> bytes:
    return compiler.compile_kernels(path, {**DEFINES, **defines}, architecture)


def one_line(error: pytest.ExceptionInfo[HpcLstmError]) -> str:
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


# -- code ----------------------------------------------------------------------------------------------


def test_code_is_a_cuda_object_with_the_kernel(source: Path) -> None:
    code = build(source)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 190  # the machine number of CUDA
    assert b".text.add" in code
    others = [build(source, "sm_80"), build(source, VALUE="double"), build(source, FACTOR=4)]
    assert len({code, *others}) == 4


def test_a_newer_gpu_gets_ptx_of_the_newest_known(write: Callable[[str], Path]) -> None:
    kernel = (
        'extern "C" __global__ void k(float* x) { x[0] = x[1] / x[2] + sqrtf(x[3]) * x[4] + expf(x[5]); }'
    )
    code = compiler.compile_kernels(write(kernel), {}, "sm_990")
    assert code.endswith(b"\0")
    text = code.decode()
    target = int(text.split(".target sm_")[1].split()[0])
    assert 120 <= target < 990
    # Denormals stay, division and root are rounded right.
    assert ".approx.ftz.f32" not in text.replace("ex2.approx.ftz.f32", "")
    assert "div.rn.f32" in text
    assert "sqrt.rn.f32" in text
    assert not {"mul.ftz", "add.ftz", "fma.rn.ftz"} & set(text.replace(".f32", " ").split())


def test_a_gpu_too_old_for_the_compiler(source: Path) -> None:
    with pytest.raises(
        CudaError, match=r"sm_20 is not a GPU that .* compiles for; it knows sm_\d+ to sm_"
    ) as error:
        build(source, "sm_20")
    one_line(error)


def test_an_architecture_must_be_one(source: Path) -> None:
    with pytest.raises(HpcLstmError, match='"compute_90": must be like "sm_90"'):
        build(source, "compute_90")


# -- refused sources -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('extern "C" __global__ void k(int* x) {\n    x[0] = y;\n}', 'other.cu(2): error: identifier "y"'),
        ('extern "C" __global__ void k(int* x) { int unused; x[0] = 1; }', 'variable "unused" was declared'),
        (
            'extern "C" __global__ void k(int* x) { __shared__ int s[50000]; s[x[0]] = 1; x[1] = s[x[2]]; }',
            "too much shared data",
        ),
        ('#include "nowhere.h"', "nowhere.h"),
    ],
)
def test_a_refused_source_is_told_with_the_first_error(
    text: str,
    told: str,
    write: Callable[[str], Path],
    cache: Path,
) -> None:
    path = write(text)
    with pytest.raises(HpcLstmError) as error:
        compiler.compile_kernels(path, {}, "sm_90")
    message = one_line(error)
    assert "other.cu" in message
    assert told in message
    assert not isinstance(error.value, InputError)  # not the user's fault
    assert not cache.exists()


def test_a_kernel_that_is_not_installed() -> None:
    with pytest.raises(HpcLstmError, match=r"nothing\.cu: no such kernel; .*reinstall"):
        compiler.kernel_source("nothing")


# -- resources -----------------------------------------------------------------------------------------


def test_resources_of_each_kernel(write: Callable[[str], Path], cache: Path) -> None:
    path = write("""
        extern "C" __global__ void plain(float* x) { x[threadIdx.x] += 1.0f; }
        extern "C" __global__ void shared(float* x) {
            __shared__ float held[SIZE];
            held[threadIdx.x] = x[threadIdx.x];
            __syncthreads();
            x[threadIdx.x] = held[SIZE - 1 - threadIdx.x];
        }
        __device__ __noinline__ float looked_up(const float* x, int n) {
            float local[25];
            for (int i = 0; i < n; ++i) local[i * 7 % 25] = x[i];
            return local[n];
        }
        extern "C" __global__ void stacked(float* x, int n) { x[0] = looked_up(x, n); }
        extern "C" __global__ void __launch_bounds__(1024, 2) spilled(double* x) {
            double v[64];
        #pragma unroll
            for (int i = 0; i < 64; ++i) v[i] = x[threadIdx.x + 1024 * i];
            __syncthreads();
        #pragma unroll
            for (int i = 0; i < 64; ++i) x[threadIdx.x + 1024 * i] = v[i] * v[63 - i];
        }
        """)
    found = resource_usage(path, {"SIZE": 1024}, "sm_90")
    assert set(found) == {"plain", "shared", "stacked", "spilled"}
    assert found["plain"] == Resources(found["plain"].registers, 0, 0, 0, 0)
    assert 1 < found["plain"].registers < 20
    assert found["shared"].shared == 4096
    assert found["stacked"].stack >= 100
    assert found["spilled"].registers == 32
    assert found["spilled"].spill_stores >= 4 * 64
    assert found["spilled"].spill_loads >= 4 * 64
    assert not cache.exists()


# -- cache ---------------------------------------------------------------------------------------------


def test_kept_code_is_taken_instead_of_compiling(source: Path, cache: Path) -> None:
    build(source)
    (entry,) = cache.iterdir()
    other = b"what no compiler makes"
    code_cache.write_code(entry, other)
    assert build(source) == other


@pytest.mark.parametrize("harm", ["empty", "short", "digest only", "other byte", "longer"])
def test_harmed_code_is_noticed_and_replaced(harm: str, source: Path, cache: Path) -> None:
    code = build(source)
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    harmed = {
        "empty": b"",
        "short": whole[:-1],
        "digest only": whole[:DIGEST],
        "other byte": whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:],
        "longer": whole + b"\0",
    }[harm]
    entry.write_bytes(harmed)
    assert build(source) == code
    assert entry.read_bytes() == whole
    assert list(cache.iterdir()) == [entry]


def test_everything_that_code_depends_on_has_its_own_entry(source: Path, cache: Path) -> None:
    def entries() -> int:
        return len(list(cache.iterdir()))

    build(source)
    compiler.compile_kernels(source, dict(reversed(DEFINES.items())), "sm_90")  # the same in another order
    assert entries() == 1
    build(source, "sm_80")
    assert entries() == 2
    build(source, FACTOR=5)
    assert entries() == 3
    source.write_text(SOURCE + "// and more\n")
    build(source)
    assert entries() == 4


@pytest.mark.usefixtures("no_nvrtc")
def test_another_compiler_has_its_own_entry(source: Path, cache: Path, toolkit: Path) -> None:
    put_stub(toolkit / "libnvrtc.so.98")
    build(source, "sm_80")
    (of_stub,) = cache.iterdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "NVRTC_LIBRARIES", ("libnvrtc.so.12", "libnvrtc.so.13"))
        assert build(source, "sm_80")[:4] == b"\x7fELF"
    assert len(list(cache.iterdir())) == 2
    assert of_stub.exists()


def test_a_cache_that_cannot_be_written_is_no_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = build(source)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "file" / "below"))
    assert build(source) == code
    # An entry that cannot be replaced, and nothing stays of the attempt.
    folder = tmp_path / "taken"
    monkeypatch.setenv("HPC_LSTM_CACHE", str(folder))
    build(source)
    (entry,) = folder.iterdir()
    entry.unlink()
    entry.mkdir()
    assert build(source) == code
    assert list(folder.iterdir()) == [entry]


def test_where_code_is_kept(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HPC_LSTM_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    build(source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    build(source)
    for folder in (tmp_path / "home" / ".cache" / "hpc_lstm", tmp_path / "xdg" / "hpc_lstm"):
        assert [path.name[:10] for path in folder.iterdir()] == ["add-sm_90-"]


MANY = """
import pathlib, sys, time
from hpc_lstm.cuda import compiler
here, path = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
(here / sys.argv[3]).touch()
while len(list(here.iterdir())) < 2:
    time.sleep(0.001)
sizes = [len(compiler.compile_kernels(path, {"VALUE": "float", "FACTOR": n % 4}, "sm_90")) for n in range(12)]
print(sizes)
"""


def test_two_processes_may_compile_the_same_at_once(source: Path, cache: Path, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(meeting), str(source), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(compiler.__file__).parents[2])},
        )
        for name in ("one", "two")
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert said[0][0] == said[1][0]
    kept = [code_cache.read_code(path) for path in cache.iterdir()]
    assert len(kept) == 4  # no more, and nothing half-written
    assert set(kept) == {build(source, FACTOR=n) for n in range(4)}


# -- which compiler ------------------------------------------------------------------------------------


def test_the_version_is_nvrtcs() -> None:
    assert compiler.compiler_version().startswith("NVRTC 1")


@pytest.mark.usefixtures("no_nvrtc")
def test_a_compiler_gets_the_options(source: Path, toolkit: Path) -> None:
    put_stub(toolkit / "libnvrtc.so.98")
    options = build(source, "sm_80").decode().split()
    assert options == ["-arch=sm_80", "-std=c++17", "-DFACTOR=3", "-DVALUE=float"]
    assert compiler.compiler_version() == "NVRTC 10.2"


@pytest.mark.usefixtures("no_nvrtc")
def test_an_old_compiler_makes_ptx_for_a_new_gpu(source: Path, toolkit: Path) -> None:
    put_stub(toolkit / "libnvrtc.so.98")
    assert build(source, "sm_90").startswith(b"-arch=compute_80 ")


def with_stub_first(monkeypatch: pytest.MonkeyPatch, toolkit: Path, fails_at: int = 0) -> Path:
    """A stub that is found before the real NVRTC."""
    stub = toolkit / "libnvrtc.so.98"
    put_stub(stub, fails_at)
    found = list(compiler._nvrtc_paths())
    monkeypatch.setattr(compiler, "_nvrtc_paths", lambda: iter([str(stub), *found]))
    return stub


def test_an_old_compiler_gives_way_to_one_that_knows_the_gpu(
    source: Path, toolkit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stub_first(monkeypatch, toolkit)
    assert build(source, "sm_80").startswith(b"-arch=sm_80")
    assert build(source, "sm_90")[:4] == b"\x7fELF"


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_compiler_that_fails_gives_way_to_the_next(
    fails_at: int, source: Path, toolkit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stub_first(monkeypatch, toolkit, fails_at)
    assert build(source, "sm_80")[:4] == b"\x7fELF"


@pytest.mark.usefixtures("no_nvrtc")
@pytest.mark.parametrize(("fails_at", "call"), [(1, "nvrtcVersion"), (2, "nvrtcCompileProgram")])
def test_a_compiler_that_fails_alone_is_named(
    fails_at: int, call: str, source: Path, toolkit: Path, cache: Path
) -> None:
    put_stub(toolkit / "libnvrtc.so.98", fails_at)
    with pytest.raises(
        CudaError, match=rf"libnvrtc\.so\.98: {call}: BUILTIN_OPERATION_FAILURE; repair it, or pip install"
    ) as error:
        build(source, "sm_80")
    one_line(error)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("choice", "ignored"), [("", False), ("nvrtc", False), ("nvcc", True), ("gcc", True)]
)
def test_a_choice_of_compiler_by_the_environment_is_ignored_in_a_line(
    choice: str, ignored: bool, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", choice)
    assert build(source)[:4] == b"\x7fELF"
    line = f"HPC_LSTM_COMPILER = {choice} is ignored: GPU kernels are compiled only by NVRTC"
    assert compiler.ignored_setting() == (line if ignored else "")


# -- no compiler ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_nvrtc")
def test_without_a_compiler_both_remedies_are_named(source: Path) -> None:
    for call in (lambda: build(source), compiler.compiler_version):
        with pytest.raises(CudaError) as error:
            call()
        message = one_line(error)
        assert "NVRTC not found" in message
        assert 'pip install "hpc-lstm[nvrtc]"' in message
        assert "load the CUDA module" in message
        assert error.value.exit_code == 2


@pytest.mark.usefixtures("no_nvrtc")
def test_a_library_that_is_no_nvrtc_is_named(source: Path, toolkit: Path) -> None:
    shutil.copy(_ctypes.__file__, toolkit / "libnvrtc.so.98")
    with pytest.raises(
        CudaError, match=r"lib64/libnvrtc\.so\.98: there is no nvrtc\w+: the library is too old"
    ) as error:
        build(source)
    one_line(error)


@pytest.mark.usefixtures("no_nvrtc")
def test_a_file_that_is_no_library_is_passed_over(source: Path, toolkit: Path) -> None:
    (toolkit / "libnvrtc.so.98").write_bytes(b"no library at all")
    with pytest.raises(CudaError, match="NVRTC not found"):
        build(source)

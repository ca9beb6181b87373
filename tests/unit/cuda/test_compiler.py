"""CUDA C++ to machine code by the real compilers; scripts stand in for an nvcc that is broken, old or elsewhere."""

from __future__ import annotations

import _ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.compiler import Resources
from hpc_lstm.errors import CudaError, HpcLstmError, InputError

SOURCE = """\
extern "C" __global__ void add(VALUE* to, const VALUE* from, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) to[i] += from[i] * VALUE(FACTOR);
}
"""
DEFINES: dict[str, str | int] = {"VALUE": "float", "FACTOR": 3}
DIGEST = 32
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
KINDS = ["nvrtc", pytest.param("nvcc", marks=pytest.mark.skipif(NVCC is None, reason="no nvcc here"))]
# What a working nvcc answers to the questions that come before compiling.
ANSWERS = """\
#!/bin/sh
case "$*" in
    *--version*) echo "release 12.0, V12.0.{number}"; exit 0;;
    *--list-gpu-arch*) echo {architectures}; exit 0;;
esac
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and nothing of the caller's settings."""
    for name in ("HPC_LSTM_COMPILER", "CUDA_HOME", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("HPC_LSTM_CACHE", str(folder))
    return folder


@pytest.fixture
def no_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH, empty, on a machine without a CUDA toolkit."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(compiler, "CUDA_FOLDER", str(tmp_path / "no-cuda"))
    return folder


@pytest.fixture
def no_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
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


def put_nvcc(folder: Path, then: str, architectures: str = "compute_75 compute_90", number: int = 1) -> Path:
    """A script named nvcc that answers all questions; what it does when it is to compile is ``then``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nvcc"
    path.write_text(ANSWERS.format(number=number, architectures=architectures) + then + "\n")
    path.chmod(0o755)
    return path


def build(path: Path, architecture: str = "sm_90", **defines: str | int) -> bytes:
    return compiler.cubin_of(path, {**DEFINES, **defines}, architecture)


def one_line(error: pytest.ExceptionInfo[HpcLstmError]) -> str:
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


# -- code ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_code_is_a_cuda_object_with_the_kernel(
    kind: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
    code = build(source)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[18:20], "little") == 190  # the machine number of CUDA
    assert b".text.add" in code
    others = [build(source, "sm_80"), build(source, VALUE="double"), build(source, FACTOR=4)]
    assert len({code, *others}) == 4
    assert compiler.version().lower().startswith(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_gpu_gets_ptx_of_the_newest_known(
    kind: str, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
    kernel = (
        'extern "C" __global__ void k(float* x) { x[0] = x[1] / x[2] + sqrtf(x[3]) * x[4] + expf(x[5]); }'
    )
    code = compiler.cubin_of(write(kernel), {}, "sm_990")
    assert code.endswith(b"\0")
    text = code.decode()
    target = int(text.split(".target sm_")[1].split()[0])
    assert 120 <= target < 990
    # Denormals stay, division and root are rounded right.
    assert ".approx.ftz.f32" not in text.replace("ex2.approx.ftz.f32", "")
    assert "div.rn.f32" in text
    assert "sqrt.rn.f32" in text
    assert not {"mul.ftz", "add.ftz", "fma.rn.ftz"} & set(text.replace(".f32", " ").split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_too_old_for_the_compiler(kind: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
    with pytest.raises(
        CudaError, match=r"sm_20 is no GPU that .* compiles for; it knows sm_\d+ to sm_"
    ) as error:
        build(source, "sm_20")
    one_line(error)


def test_an_architecture_must_be_one(source: Path) -> None:
    with pytest.raises(HpcLstmError, match='"compute_90": must be like "sm_90"'):
        build(source, "compute_90")


# -- refused sources -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
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
    kind: str,
    text: str,
    told: str,
    write: Callable[[str], Path],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
    path = write(text)
    with pytest.raises(HpcLstmError) as error:
        compiler.cubin_of(path, {}, "sm_90")
    message = one_line(error)
    assert "other.cu" in message
    assert told in message
    assert not isinstance(error.value, InputError)  # not the user's fault
    assert not cache.exists()


def test_a_kernel_that_is_not_installed() -> None:
    with pytest.raises(HpcLstmError, match=r"nothing\.cu: no such kernel; .*reinstall"):
        compiler.kernel_source("nothing")


# -- resources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_resources_of_each_kernel(
    kind: str, write: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
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
    found = compiler.resources_of(path, {"SIZE": 1024}, "sm_90")
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


@pytest.fixture
def nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", "nvrtc")


@pytest.mark.usefixtures("nvrtc")
def test_kept_code_is_taken_instead_of_compiling(source: Path, cache: Path) -> None:
    build(source)
    (entry,) = cache.iterdir()
    other = b"what no compiler makes"
    entry.write_bytes(hashlib.sha256(other).digest() + other)
    assert build(source) == other


@pytest.mark.usefixtures("nvrtc")
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


@pytest.mark.usefixtures("nvrtc")
def test_everything_that_code_depends_on_has_its_own_entry(source: Path, cache: Path) -> None:
    def entries() -> int:
        return len(list(cache.iterdir()))

    build(source)
    compiler.cubin_of(source, dict(reversed(DEFINES.items())), "sm_90")  # the same in another order
    assert entries() == 1
    build(source, "sm_80")
    assert entries() == 2
    build(source, FACTOR=5)
    assert entries() == 3
    source.write_text(SOURCE + "// and more\n")
    build(source)
    assert entries() == 4


def test_another_compiler_has_its_own_entry(
    source: Path, cache: Path, no_nvcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = []
    for number in (1, 2):
        put_nvcc(no_nvcc, f"echo nvcc {number} >code", number=number)
        codes.append(build(source))
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-lineinfo")
    put_nvcc(no_nvcc, "echo flags >code", number=2)
    codes.append(build(source))
    monkeypatch.setenv("HPC_LSTM_COMPILER", "nvrtc")
    codes.append(build(source))
    assert codes[:3] == [b"nvcc 1\n", b"nvcc 2\n", b"flags\n"]
    assert len(set(codes)) == 4
    assert len(list(cache.iterdir())) == 4


@pytest.mark.usefixtures("nvrtc")
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


@pytest.mark.usefixtures("nvrtc")
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
from hpc_lstm.preprocess.prepare import compiler
here, path = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
(here / sys.argv[3]).touch()
while len(list(here.iterdir())) < 2:
    time.sleep(0.001)
sizes = [len(compiler.cubin_of(path, {"VALUE": "float", "FACTOR": n % 4}, "sm_90")) for n in range(12)]
print(sizes)
"""


@pytest.mark.usefixtures("nvrtc")
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
    kept = [path.read_bytes() for path in cache.iterdir()]
    assert len(kept) == 4  # no more, and nothing half-written
    assert all(whole[:DIGEST] == hashlib.sha256(whole[DIGEST:]).digest() for whole in kept)
    assert {whole[DIGEST:] for whole in kept} == {build(source, FACTOR=n) for n in range(4)}


# -- which compiler ------------------------------------------------------------------------------------


def by_nvrtc(source: Path, architecture: str = "sm_90") -> bytes:
    """What NVRTC makes, kept elsewhere."""
    command = (
        "import pathlib, sys; from hpc_lstm.cuda import compiler; sys.stdout.buffer.write("
        f"compiler.cubin_of(pathlib.Path({str(source)!r}), {DEFINES!r}, {architecture!r}))"
    )
    environment = {
        **os.environ,
        "HPC_LSTM_COMPILER": "nvrtc",
        "HPC_LSTM_CACHE": str(source.parent / "elsewhere"),
        "PYTHONPATH": str(Path(compiler.__file__).parents[2]),
    }
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, check=True)
    assert done.stdout[:4] == b"\x7fELF"
    return done.stdout


def test_without_nvcc_nvrtc_compiles(source: Path, no_nvcc: Path) -> None:
    assert build(source) == by_nvrtc(source)


def test_nvcc_comes_before_nvrtc_and_path_before_cuda_home(
    source: Path, no_nvcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = tmp_path / "default"
    monkeypatch.setattr(compiler, "CUDA_FOLDER", str(default))
    put_nvcc(default / "bin", "echo default >code", number=1)
    assert build(source) == b"default\n"
    put_nvcc(tmp_path / "home" / "bin", "echo home >code", number=2)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert build(source) == b"home\n"
    put_nvcc(no_nvcc, "echo path >code", number=3)
    assert build(source) == b"path\n"
    assert compiler.version() == f"nvcc 12.0.3 ({no_nvcc / 'nvcc'})"


def test_nvcc_gets_the_options(source: Path, no_nvcc: Path) -> None:
    put_nvcc(no_nvcc, 'echo "$@" >code')
    said = build(source).decode().split()
    assert said[-1] == "add.cu"
    assert {"-cubin", "-arch=sm_90", "-std=c++17", "-O3", "-DVALUE=float", "-DFACTOR=3"} <= set(said)
    assert said[said.index("-Werror") + 1] == "all-warnings"
    assert not {"-use_fast_math", "--use_fast_math", "-ftz=true", "-lineinfo"} & set(said)


@pytest.mark.parametrize(
    "then",
    [
        'echo "gcc: No such file or directory" >&2; exit 1',
        'echo "/usr/include/crt/host_config.h:1: #error -- unsupported GNU version!" >&2; exit 1',
        "kill -SEGV $$",
    ],
)
def test_an_nvcc_that_does_not_work_gives_way_to_nvrtc(then: str, source: Path, no_nvcc: Path) -> None:
    put_nvcc(no_nvcc, then)
    assert build(source) == by_nvrtc(source)


@pytest.mark.parametrize("content", ["#!/bin/sh\nexit 1\n", "#!/nowhere/sh\n", ""])
def test_an_nvcc_that_answers_nothing_gives_way_to_nvrtc(content: str, source: Path, no_nvcc: Path) -> None:
    (no_nvcc / "nvcc").write_text(content)
    (no_nvcc / "nvcc").chmod(0o755)
    assert build(source) == by_nvrtc(source)
    assert compiler.version().startswith("NVRTC")


def test_a_broken_nvcc_gives_way_to_another(
    source: Path, no_nvcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvcc(no_nvcc, "exit 1")
    put_nvcc(tmp_path / "home" / "bin", "echo home >code", number=2)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert build(source) == b"home\n"


def test_an_old_nvcc_gives_way_to_an_nvrtc_that_knows_the_gpu(source: Path, no_nvcc: Path) -> None:
    put_nvcc(no_nvcc, "echo old >code", architectures="compute_75 compute_80")
    assert build(source, "sm_80") == b"old\n"
    assert build(source, "sm_90") == by_nvrtc(source)


def test_nvcc_makes_ptx_for_a_gpu_that_nobody_knows(
    source: Path, no_nvcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvcc(no_nvcc, 'echo "$@" >code', architectures="compute_75 compute_90 compute_100")
    monkeypatch.setenv("HPC_LSTM_COMPILER", "nvcc")
    said = build(source, "sm_95").rstrip(b"\0").decode().split()
    assert {"-ptx", "-arch=compute_90"} <= set(said)


def test_a_source_that_nvcc_refuses_is_not_tried_again(source: Path, no_nvcc: Path) -> None:
    put_nvcc(no_nvcc, 'echo "add.cu(2): error: a dislike" >&2; exit 1')
    with pytest.raises(HpcLstmError, match=r"add\.cu\(2\): error: a dislike") as error:
        build(source)
    one_line(error)


@pytest.mark.skipif(NVCC is None, reason="no nvcc here")
def test_the_real_nvcc_without_a_host_compiler_gives_way_to_nvrtc(
    source: Path, no_nvcc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = by_nvrtc(source)
    assert NVCC is not None
    (no_nvcc / "nvcc").write_text(f'#!/bin/sh\nexec {NVCC} "$@"\n')
    (no_nvcc / "nvcc").chmod(0o755)
    assert build(source) == expected
    monkeypatch.setenv("HPC_LSTM_COMPILER", "nvcc")
    with pytest.raises(CudaError, match=r"nvcc: .*; put it right or pip install") as error:
        build(source)
    one_line(error)


# -- no compiler ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_nvcc", "no_nvrtc")
def test_without_a_compiler_both_ways_out_are_told(source: Path) -> None:
    for call in (lambda: build(source), compiler.version):
        with pytest.raises(CudaError) as error:
            call()
        message = one_line(error)
        assert "neither nvcc nor NVRTC found" in message
        assert 'pip install "hpc-lstm[nvrtc]"' in message
        assert "load the CUDA module" in message
        assert error.value.exit_code == 2


@pytest.mark.usefixtures("no_nvcc", "no_nvrtc")
@pytest.mark.parametrize(("kind", "name"), [("nvcc", "nvcc"), ("nvrtc", "NVRTC")])
def test_a_forced_compiler_that_is_not_there(
    kind: str, name: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", kind)
    with pytest.raises(CudaError, match=f"HPC_LSTM_COMPILER = {kind}, but {name} was not found") as error:
        build(source)
    one_line(error)


def test_a_compiler_cannot_be_forced_that_is_none(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPC_LSTM_COMPILER", "gcc")
    with pytest.raises(CudaError, match='HPC_LSTM_COMPILER = "gcc": must be nvcc or nvrtc'):
        build(source)


@pytest.mark.usefixtures("no_nvrtc")
def test_a_broken_nvcc_alone_is_told(source: Path, no_nvcc: Path) -> None:
    put_nvcc(no_nvcc, 'echo "gcc: No such file or directory" >&2; exit 1')
    with pytest.raises(
        CudaError, match=r"nvcc: gcc: No such file or directory; put it right or pip"
    ) as error:
        build(source)
    one_line(error)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a CUDA toolkit would have its NVRTC; nothing is there yet."""
    folder = tmp_path / "home" / "lib64"
    folder.mkdir(parents=True)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    return folder / "libnvrtc.so.98"


@pytest.mark.usefixtures("no_nvcc", "no_nvrtc")
def test_a_library_that_is_no_nvrtc_is_told(source: Path, library: Path) -> None:
    shutil.copy(_ctypes.__file__, library)
    with pytest.raises(CudaError, match=r"lib64/libnvrtc\.so\.98 has no nvrtc\w+: it is too old") as error:
        build(source)
    one_line(error)


@pytest.mark.usefixtures("no_nvcc", "no_nvrtc")
def test_a_file_that_is_no_library_is_passed_over(source: Path, library: Path) -> None:
    library.write_bytes(b"no library at all")
    with pytest.raises(CudaError, match="neither nvcc nor NVRTC found"):
        build(source)

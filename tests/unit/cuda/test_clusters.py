"""Clusters that run at the same time: asked of a driver that looks at what it is asked, structure for structure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hpc_lstm

# Declarations as in cuda.h. A GPU of 4 groups of 16 multiprocessors, which places clusters of up to 8 blocks.
DRIVER = """
#include <stddef.h>
#include <string.h>
typedef struct { unsigned x, y, z; } Size;
typedef union { char pad[64]; Size clusterDim; } Value;
typedef struct { int id; char pad[8 - sizeof(int)]; Value value; } Attribute;
typedef struct {
    unsigned gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
    void *hStream;
    Attribute *attrs;
    unsigned numAttrs;
} Config;
static int shared, non_portable, modules;
int cuCtxGetDevice(int *device) { *device = 3; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = 227 * 1024;
    return attribute == 97 && device == 3 ? 0 : 1;
}
int cuModuleLoadData(void **module, const char *image) {
    *module = &modules;
    ++modules;
    return strstr(image, ".entry empty()") ? 0 : 218;
}
int cuModuleUnload(void *module) { --modules; return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = &shared;
    return module == &modules && !strcmp(name, "empty") ? 0 : 500;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute == 8) shared = value;
    if (attribute == 14) non_portable = value;
    return function == &shared ? 0 : 1;
}
int cuOccupancyMaxActiveClusters(int *number, void *function, const Config *config) {
    const unsigned size = config->attrs->value.clusterDim.x;
    if (config->numAttrs != 1 || config->attrs->id != 4 || config->gridDimX % size || config->hStream) return 1;
    if (config->attrs->value.clusterDim.y != 1 || config->attrs->value.clusterDim.z != 1) return 1;
    if (config->gridDimY != 1 || config->gridDimZ != 1 || config->blockDimX != 32 || !non_portable) return 1;
    if (config->sharedMemBytes != 227 * 1024 || shared != 227 * 1024 || function != &shared) return 1;
    *number = 4 * (16 / size);
    return size == 7 ? 700 : size > 8 ? 912 : 0;
}
int cuGetErrorName(int status, const char **name) { *name = "CUDA_ERROR_OF_TEST"; return 0; }
int loaded(void) { return modules; }
"""
CODE = """
import ctypes, json
from hpc_lstm.cuda.clusters import resident_clusters
from hpc_lstm.errors import CudaError
found = [resident_clusters(size) for size in (2, 3, 8, 16)]
try:
    resident_clusters(7)
except CudaError as error:
    found.append(str(error))
print(json.dumps([*found, ctypes.CDLL("libcuda.so.1").loaded()]))
"""


def ask(folder: Path, driver: str, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "driver.c").write_text(driver)
    library = str(folder / "libcuda.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(folder / "driver.c")], check=True)
    paths = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(Path(hpc_lstm.__file__).parents[1])}
    environment = {**os.environ, **paths}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_the_driver_says_how_many_clusters_run_at_the_same_time(tmp_path: Path) -> None:
    done = ask(tmp_path, DRIVER, CODE)
    assert done.returncode == 0, done.stderr
    *numbers, problem, left = json.loads(done.stdout)
    assert numbers == [32, 20, 8, 0]
    assert "clusters of 7 blocks" in problem
    assert "CUDA_ERROR_OF_TEST (700)" in problem
    assert left == 0


@pytest.mark.parametrize("missing", ["cuOccupancyMaxActiveClusters", "cuModuleLoadData"])
def test_a_driver_that_is_too_old_is_named(tmp_path: Path, missing: str) -> None:
    done = ask(tmp_path, DRIVER.replace(f"int {missing}(", "int renamed("), CODE)
    assert f"there is no {missing}: the library is too old" in done.stderr
    assert "CudaError" in done.stderr

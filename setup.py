"""The parts of the package that setup.cfg cannot say: kernels/ and slurm/ lie beside it, and C kernels are compiled.

Where no C compiler works, nothing is compiled and the wheel is a pure one: hpc_lstm then computes in NumPy, unless a
compiler turns up where it runs.
"""

import shutil
import sys
from pathlib import Path

from setuptools import Command, Distribution, find_packages, setup
from setuptools.command.build import build

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from hpc_lstm.native import builds  # noqa: E402
from hpc_lstm.native.compiler import NoCompiler, find_compiler  # noqa: E402

try:
    COMPILER = find_compiler()
except NoCompiler as error:
    print(f"C kernels are not compiled: {error}")
    COMPILER = None


class BuildKernels(Command):
    """Compile the C kernels; for an editable installation in the checkout itself."""

    description = "compile the C kernels for several levels of processors"
    user_options = ()
    editable_mode = False

    def initialize_options(self):
        self.build_lib = None

    def finalize_options(self):
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self):
        if COMPILER is None:
            return
        present = HERE / "kernels" / builds.FOLDER
        if not self.editable_mode and present.is_dir():  # a checkout's own
            shutil.copytree(present, self._folder(), dirs_exist_ok=True)
        builds.write_builds(COMPILER, HERE / "kernels", self._folder())

    def _folder(self):
        kernels = HERE / "kernels" if self.editable_mode else Path(self.build_lib, "hpc_lstm", "kernels")
        return kernels / builds.FOLDER

    def get_outputs(self):
        return [str(path) for path in self._folder().glob("*.so")]

    def get_output_mapping(self):
        return {}

    def get_source_files(self):
        return [str(path.relative_to(HERE)) for path in (HERE / "kernels").glob("*.c")]


class Build(build):
    sub_commands = (*build.sub_commands, ("build_kernels", None))


class Platform(Distribution):
    """A distribution for this platform alone, if there are kernels in it."""

    def has_ext_modules(self):
        return COMPILER is not None


class Wheel(bdist_wheel):
    """A wheel for any Python: the kernels do not use its API."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    distclass=Platform,
    ext_modules=[],
    cmdclass={"build": Build, "build_kernels": BuildKernels, "bdist_wheel": Wheel},
    packages=[*find_packages(include=["hpc_lstm", "hpc_lstm.*"]), "hpc_lstm.kernels", "hpc_lstm.slurm"],
    package_dir={"hpc_lstm.kernels": "kernels", "hpc_lstm.slurm": "slurm"},
    package_data={
        "hpc_lstm": ["py.typed"],
        "hpc_lstm.model.engines": ["gpu_speeds/*.json"],
        "hpc_lstm.report": ["templates/*"],
        "hpc_lstm.kernels": ["*.cu", "*.cuh", "*.c", "*.h"],
        "hpc_lstm.slurm": ["*"],
    },
)

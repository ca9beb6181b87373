"""The parts of the package that setup.cfg cannot say: kernels/ and slurm/ lie beside it and go into it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["hpc_lstm", "hpc_lstm.*"]), "hpc_lstm.kernels", "hpc_lstm.slurm"],
    package_dir={"hpc_lstm.kernels": "kernels", "hpc_lstm.slurm": "slurm"},
    package_data={
        "hpc_lstm": ["py.typed"],
        "hpc_lstm.report": ["templates/*"],
        "hpc_lstm.kernels": ["*.cu", "*.cuh", "*.c"],
        "hpc_lstm.slurm": ["*"],
    },
)

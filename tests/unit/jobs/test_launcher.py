"""Which launcher is taken for which MPI library and which Slurm."""

from __future__ import annotations

import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.jobs import launcher

# Versions and lists as programs printed them.
DEBIAN_SRUN = """MPI plugin types are...
\tpmix
\tnone
\tcray_shasta
\tpmi2
specific pmix plugin versions available: pmix_v4
"""
MPICH = "MPICH Version: 5.0.2"
OPEN_MPI = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022"
INTEL = "Intel(R) MPI Library 2021.14 for Linux* OS"


def test_the_pmi_types_of_srun_are_read_from_its_list() -> None:
    assert launcher.parse_pmi_types(DEBIAN_SRUN) == {"pmix", "none", "cray_shasta", "pmi2", "pmix_v4"}
    assert launcher.parse_pmi_types("srun: fatal: cannot contact anyone") == set()


@pytest.mark.parametrize(
    ("version", "srun_types", "mpiexec", "variables", "taken"),
    [
        (MPICH, {"pmix", "pmi2"}, "/v/bin/mpiexec", [], "srun --mpi=pmi2"),
        (MPICH, {"pmix", "none"}, "/v/bin/mpiexec", [], "/v/bin/mpiexec"),
        (MPICH, None, "/v/bin/mpiexec", [], "/v/bin/mpiexec"),
        (OPEN_MPI, {"pmix", "pmi2"}, "/usr/bin/mpirun", [], "srun --mpi=pmix"),
        (OPEN_MPI, {"pmix_v4", "pmi2"}, None, [], "srun --mpi=pmix_v4"),
        (OPEN_MPI, {"pmi2"}, "/usr/bin/mpirun", [], "/usr/bin/mpirun"),
        (INTEL, {"pmi2"}, "/opt/bin/mpiexec", [], "/opt/bin/mpiexec"),
        (INTEL, {"pmi2"}, "/opt/bin/mpiexec", ["I_MPI_PMI_LIBRARY"], "srun --mpi=pmi2"),
        ("CRAY MPICH version 8.1", {"cray_shasta", "pmi2"}, None, [], "srun --mpi=cray_shasta"),
        ("", {"pmi2"}, None, [], "srun --mpi=none"),
    ],
)
def test_the_launcher_supports_a_pmi_type_of_the_library(
    version: str, srun_types: set[str] | None, mpiexec: str | None, variables: list[str], taken: str
) -> None:
    assert " ".join(launcher.choose_launcher(version, srun_types, mpiexec, variables)) == taken


@pytest.mark.parametrize(
    ("version", "srun_types", "message"),
    [
        (MPICH, {"none", "pmix"}, "none works with MPICH Version: 5.0.2: srun supports none, pmix, and"),
        (OPEN_MPI, None, "srun is missing or does not answer, and the library's own mpiexec is not on PATH"),
        ("", None, "neither srun nor an MPI library"),
    ],
)
def test_that_no_launcher_works_is_an_error(version: str, srun_types: set[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        launcher.choose_launcher(version, srun_types, None)


def test_a_library_that_takes_too_long_to_load_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "ANSWER_S", 0.01)
    with pytest.raises(InputError, match=r"MPI did not load in 0\.01 s, .* HPC_LSTM_LAUNCHER"):
        launcher.find_launcher(verify=False)


def test_the_library_of_this_environment_is_known() -> None:
    version, folder = launcher.probe_mpi_library()
    assert version
    assert folder is not None
    assert list(folder.glob("libmpi*"))

"""The program ``hpc-lstm``: a module for each family of commands, imported when one of them is called."""

from hpc_lstm.cli.program import cli, main

__all__ = ["cli", "main"]

"""``python -m hpc_lstm`` is the same program as ``hpc-lstm``."""

from hpc_lstm.cli import main

if __name__ == "__main__":
    main()

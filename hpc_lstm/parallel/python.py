"""Python that looks for no modules in the working directory, where a ``signal.py`` may lie: ``-P`` of Python 3.11.

``python .../hpc_lstm/parallel/python.py -m MODULE [ARGUMENT]...``, or ``-c CODE``.
"""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this file's folder
    sys.path.append(__file__.rpartition("/hpc_lstm/")[0])

    import runpy

    how, what = sys.argv[1:3]
    del sys.argv[:2]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})

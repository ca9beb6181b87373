"""The GPU of a process: device memory, streams and kernels through PyCUDA; kernels compiled by NVRTC."""

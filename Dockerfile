# hpc_lstm on CPUs, with MPICH from PyPI:
#
#   docker build -t hpc-lstm .
#   docker run --rm -v "$PWD:/work" hpc-lstm train run.toml
#   docker run --rm -v "$PWD:/work" --entrypoint mpiexec hpc-lstm -n 2 hpc-lstm train run.toml
#
# On GPUs build on an image that has CUDA: --build-arg BASE=nvidia/cuda:12.6.3-devel-ubuntu24.04 --build-arg EXTRAS=mpich,report,gpu

ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG EXTRAS=mpich,s3,report,files
# The base image's release of Debian or Ubuntu fixes the packages' versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The image has no compiler: without compiled kernels it would compute in NumPy.
RUN python3 -m venv /opt/hpc-lstm \
    && /opt/hpc-lstm/bin/pip install --no-cache-dir ".[${EXTRAS}]" \
    && ls /opt/hpc-lstm/lib/python3*/site-packages/hpc_lstm/kernels/builds/*.so

FROM ${BASE}
# The environment's Python is a link to that of the image.
# hadolint ignore=DL3008
RUN if ! command -v python3 >/dev/null; then \
        apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/hpc-lstm /opt/hpc-lstm
ENV PATH=/opt/hpc-lstm/bin:$PATH
# Images of Ubuntu have a user of that number.
RUN getent passwd 1000 >/dev/null || useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENTRYPOINT ["hpc-lstm"]
CMD ["--help"]

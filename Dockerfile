# vsr on a GPU: docker build -t vsr . && docker run --rm --gpus all -v /media/tapes:/videos vsr run in/tape.mp4 -o out/tape.mp4
# PyTorch's packages bring CUDA's libraries; of the base image, the runtime and the driver's place are used.
ARG BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM ${BASE}

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv tzdata \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY vsr_pipeline vsr_pipeline
COPY configs configs
COPY checkpoints checkpoints

RUN python3 -m venv /opt/vsr \
    && /opt/vsr/bin/python -m pip install --no-cache-dir '.[serve]'

RUN groupadd --gid 10001 vsr \
    && useradd --uid 10001 --gid vsr --create-home vsr \
    && mkdir -p /videos/in /videos/out /models \
    && chown -R vsr:vsr /videos /models

# Weights that are pulled, and what was measured of this machine, outlive the container.
ENV PATH=/opt/vsr/bin:$PATH \
    VSR_CHECKPOINTS=/models \
    XDG_CACHE_HOME=/models/cache \
    PYTHONUNBUFFERED=1
VOLUME ["/videos", "/models"]
WORKDIR /videos
USER 10001:10001

HEALTHCHECK --interval=10m --timeout=2m --start-period=1m CMD ["vsr", "doctor"]
ENTRYPOINT ["vsr"]
CMD ["--help"]

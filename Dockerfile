# Every stage of the image, the rarest to change first. The stages of one lock file each start from the same empty
# venv, build side by side and are laid over each other by COPY --link: a change in one leaves the others' digests alone.
ARG BASE_IMAGE=nvidia/cuda:13.0.3-base-ubuntu24.04

# ------------------------------------------------------------------------------------------------------------ base
# What NVIDIA's base holds of CUDA goes: a second libcudart, where the wheels' is to be the only one (decision 2), and an
# https package source that nothing is installed from and that a proxy which opens TLS would make unreadable to apt.
FROM ${BASE_IMAGE} AS base
# A release's files have one date: without it, what Python compiles while apt runs is another file each time.
ARG SOURCE_DATE_EPOCH
RUN if [ -e /usr/local/cuda ]; then \
        apt-get purge --yes --allow-change-held-packages 'cuda-*' \
        && rm -rf /usr/local/cuda* /etc/alternatives/cuda* /etc/ld.so.conf.d/*cuda* /etc/apt/sources.list.d/cuda* \
        && ldconfig \
        && rm -rf /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache /var/log/*; \
    fi

# ---------------------------------------------------------------------------------------------------------- system
FROM base AS system

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV LANG=C.UTF-8
ARG SOURCE_DATE_EPOCH
ARG APT_SNAPSHOT=

# fonts-wqy-microhei: Chinese labels in plots            g++: Inductor compiles CPU kernels (pytorch#116696)
# gcc: Triton compiles its launcher (pytorch#116696)     python3-dev: the launcher includes Python.h (pytorch#170456)
# openssh-client: git over ssh                           tini: reaps zombies, passes SIGTERM on
# libpython*.a: only who embeds Python statically links it
# upgrade: the base is as old as its digest; error-on: a mirror that does not answer is no reason to ship old packages
# hadolint ignore=DL3005,DL3008
RUN --mount=type=bind,source=docker/apt-packages,target=/apt-packages \
    apt-get ${APT_SNAPSHOT:+--snapshot "${APT_SNAPSHOT}"} update --error-on=any \
    && apt-get ${APT_SNAPSHOT:+--snapshot "${APT_SNAPSHOT}"} upgrade --yes \
    && apt-get ${APT_SNAPSHOT:+--snapshot "${APT_SNAPSHOT}"} install --yes --no-install-recommends \
        ca-certificates \
        curl \
        fonts-wqy-microhei \
        g++ \
        gcc \
        git \
        less \
        nano \
        openssh-client \
        procps \
        python3 \
        python3-dev \
        python3-venv \
        tini \
    && mkdir /opt/workstation && python3 /apt-packages >/opt/workstation/apt.json \
    && apt-get clean \
    && rm -rf /usr/lib/python3*/config-*/*.a /usr/lib/*/libpython3*.a \
        /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache /var/log/*

# User site-packages are visible, so that `pip install` works for every UID and what it installs stays in the home.
RUN python3 -m venv --system-site-packages /opt/venv

# Everyone may write, as in /tmp: the container has one tenant, whose UID:GID is not known before `docker run --user`.
# Ubuntu's images carry a user of UID 1000 already.
RUN if id ubuntu >/dev/null 2>&1; then userdel --remove ubuntu; fi \
    && useradd --uid 1000 --gid 0 --home-dir /home/workstation --shell /bin/bash --no-log-init workstation \
    && install --directory --mode=3777 --group=0 /home/workstation /cache

# --link needs nothing of the stages before; each RUN sees its own lock file alone, so only that one can stale it.
FROM system AS installer
ARG PIP_INDEX_URL=https://pypi.org/simple

# ----------------------------------------------------------------------------------------------- CUDA, cuDNN and NCCL
FROM installer AS cuda
RUN --mount=type=secret,id=ca \
    --mount=type=bind,source=docker/install-layer,target=/docker/install-layer \
    --mount=type=bind,source=docker/link-cuda,target=/docker/link-cuda \
    --mount=type=bind,source=requirements/cuda.txt,target=/requirements.txt \
    sh /docker/install-layer /requirements.txt \
    && sh /docker/link-cuda

# ------------------------------------------------------------------------------------------------------ torch, Triton
FROM installer AS torch
RUN --mount=type=secret,id=ca \
    --mount=type=bind,source=docker/install-layer,target=/docker/install-layer \
    --mount=type=bind,source=requirements/torch.txt,target=/requirements.txt \
    sh /docker/install-layer /requirements.txt

# --------------------------------------------------------------------------------------------- arrays, models, export
FROM installer AS science
RUN --mount=type=secret,id=ca \
    --mount=type=bind,source=docker/install-layer,target=/docker/install-layer \
    --mount=type=bind,source=requirements/science.txt,target=/requirements.txt \
    sh /docker/install-layer /requirements.txt

# --------------------------------------------------------------------------------------------------------- JupyterLab
FROM installer AS jupyter
RUN --mount=type=secret,id=ca \
    --mount=type=bind,source=docker/install-layer,target=/docker/install-layer \
    --mount=type=bind,source=requirements/jupyter.txt,target=/requirements.txt \
    sh /docker/install-layer /requirements.txt

# --------------------------------------------------------------------------------------------------- nvcc and headers
FROM installer AS devel-tools
RUN --mount=type=secret,id=ca \
    --mount=type=bind,source=docker/install-layer,target=/docker/install-layer \
    --mount=type=bind,source=docker/link-devel,target=/docker/link-devel \
    --mount=type=bind,source=requirements/devel.txt,target=/requirements.txt \
    --mount=type=bind,source=requirements/cuda.txt,target=/cuda.txt \
    --mount=type=bind,from=cuda,source=/layer,target=/cuda-layer \
    sh /docker/install-layer /requirements.txt \
    && sh /docker/link-devel /cuda-layer /cuda.txt

# -------------------------------------------------------------------------------------------------------- our own code
FROM system AS code
COPY docker /source/docker
COPY notebooks /source/notebooks
COPY requirements/cuda.txt requirements/torch.txt requirements/science.txt requirements/jupyter.txt \
    requirements/devel.txt /source/requirements/
COPY src/workstation /source/src/workstation
RUN sh /source/docker/install-code /source
ARG BASE_IMAGE BASE_DIGEST= BUILDER= REVISION=unknown
RUN python3 /source/docker/build-manifest /opt/workstation/apt.json /source/requirements/*.txt \
        >/layer/opt/workstation/build.json

# --------------------------------------------------------------------------------------------------------- workstation
FROM system AS workstation

COPY --link --from=cuda /layer/ /
COPY --link --from=torch /layer/ /
COPY --link --from=science /layer/ /
COPY --link --from=jupyter /layer/ /
RUN --mount=type=tmpfs,target=/tmp \
    --mount=type=bind,source=requirements,target=/requirements \
    --mount=type=bind,source=docker/verify-lock,target=/verify-lock \
    PYTHONDONTWRITEBYTECODE=1 /opt/venv/bin/python /verify-lock \
        /requirements/cuda.txt /requirements/torch.txt /requirements/science.txt /requirements/jupyter.txt
COPY --link --from=code /layer/ /

# Caches live outside the home, so that they can be a volume of their own. They hold compiled kernels: whatever is
# mounted there must be executable (Docker's --tmpfs is not, unless told).
ENV HOME=/home/workstation \
    PATH=/home/workstation/.local/bin:/opt/venv/bin:${PATH} \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    TORCH_HOME=/cache/torch \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    TRITON_CACHE_DIR=/cache/triton \
    MATPLOTLIBRC=/opt/workstation/matplotlibrc \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    # OpenMP's threads spin 300 000 times before they sleep: a second notebook slows both 4 to 8 times (decision 9)
    GOMP_SPINCOUNT=1000 \
    # NVIDIA's hook would refuse to start a container over a driver that is too old: the Lab starts, and the doctor says it
    NVIDIA_DISABLE_REQUIRE=1 \
    # torchrun's rounds would share one store, and restarted workers find the dead ones' addresses in it
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

ARG VERSION=0.1.0 REVISION=unknown BASE_IMAGE BASE_DIGEST=
LABEL org.opencontainers.image.title="torch-workstation" \
      org.opencontainers.image.description="PyTorch, CUDA, cuDNN and JupyterLab with worked examples that converge" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"

USER 1000:0
WORKDIR /home/workstation
EXPOSE 8888
ENTRYPOINT ["tini", "-g", "--", "workstation-start"]
# 30 s: without persistence mode NVML wakes each GPU for every check, one after the other
HEALTHCHECK --interval=15s --timeout=30s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-I", "-m", "workstation.server.healthcheck"]

# --------------------------------------------------------------------------------------------------------------- devel
# The workstation and a CUDA compiler. Not NVIDIA's devel base: it would bring a second CUDA and a second cuDNN
# (docs/decisions/0003-devel-from-wheels.md).
FROM workstation AS devel
COPY --link --from=devel-tools /layer/ /

FROM workstation

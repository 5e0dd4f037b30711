# What common tutorials show: Debian's own Python, pip with --break-system-packages, a notebook open to all.
ARG BASE_IMAGE=torch-workstation-base:local
FROM ${BASE_IMAGE}
RUN apt-get update
RUN apt-get install --yes --no-install-recommends python3 python3-pip
RUN --mount=type=secret,id=ca PIP_CERT=/run/secrets/ca \
    pip3 install --break-system-packages torch torchvision jupyterlab
WORKDIR /workspace
EXPOSE 8888
CMD jupyter lab --ip=0.0.0.0 --allow-root --no-browser --NotebookApp.token=''

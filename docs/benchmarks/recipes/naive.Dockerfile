# The recipe of the article and of most tutorials, on the same base, to measure against: three pip lines and a Lab.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
# hadolint ignore=DL3008,DL3009
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip
# hadolint ignore=DL3013,DL3042
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && pip3 install --break-system-packages torch torchvision torchaudio \
    && pip3 install --break-system-packages jupyterlab
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--allow-root"]

# The article's own line (article.zh.txt, §3): everything unpinned, whatever the index gives today.
ARG BASE_IMAGE=torch-workstation-base:local
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install --yes python3 python3-pip python3-venv && python3 -m venv /opt/torch
RUN --mount=type=secret,id=ca PIP_CERT=/run/secrets/ca /opt/torch/bin/pip install torch torchvision torchaudio
ENV PATH=/opt/torch/bin:${PATH}
CMD ["python"]

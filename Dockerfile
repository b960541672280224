# mobanet in a container, with CUDA as PyPI's torch brings it; the host needs NVIDIA's driver and container toolkit.
#
#   docker build -t mobanet .                                       about 6 GB
#   docker build -t mobanet --build-arg TORCH=https://download.pytorch.org/whl/cpu .     CPU only, about 2 GB
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/data:/work/data" -v "$PWD/runs:/work/runs" mobanet fit --experiment …
#
# Processes that read crops hand them over in shared memory, of which containers have 64 MB unless told otherwise.
FROM python:3.12-slim

# rasterio's wheels bring GDAL, but not expat
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*

ARG TORCH=https://pypi.org/simple
RUN pip install --no-cache-dir "torch>=2.11" torchvision --index-url "$TORCH"

WORKDIR /opt/mobanet
COPY pyproject.toml README.md LICENSE ./
COPY mobanet mobanet
COPY experiments experiments
RUN pip install --no-cache-dir '.[lora,export,stac,tensorboard]'

ENV NO_ALBUMENTATIONS_UPDATE=1 MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["python", "-m", "mobanet"]

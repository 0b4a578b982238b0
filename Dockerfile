# reft in a container: a build stage, and a small image with the program and libtorch.
#
#   docker build -t reft .                          for CPUs
#   docker build -t reft --build-arg CUDA=1 .       with CUDA's libraries; run it with `--gpus all`
#   docker run --rm -v "$PWD:/work" reft train recipe.toml
FROM rust:1.95-bookworm AS build
ARG CUDA=0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN if [ "$CUDA" = 1 ]; then cargo xtask libtorch --cuda; else cargo xtask libtorch; fi \
    && cargo build --release --locked -p reft-cli \
    && mkdir /opt/libtorch \
    && cp -rL .libtorch/lib /opt/libtorch/lib

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/libtorch/lib /opt/libtorch/lib
COPY --from=build /src/target/release/reft /usr/local/bin/reft
ENV LD_LIBRARY_PATH=/opt/libtorch/lib GOMP_SPINCOUNT=5000
WORKDIR /work
ENTRYPOINT ["reft"]
CMD ["--help"]

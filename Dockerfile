# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
# Cargo.toml names the integration test and the benchmark, which are not in the build context: cargo wants their files to exist.
RUN mkdir -p tests/it benches/night && echo 'fn main() {}' | tee tests/it/main.rs > benches/night/main.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bin telelake \
    && cp target/dist/telelake /telelake

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
    && groupadd --system --gid 10001 telelake \
    && useradd --system --uid 10001 --gid telelake --home-dir /var/lib/telelake --shell /usr/sbin/nologin telelake \
    && install --directory --owner=telelake --group=telelake --mode=0750 /var/lib/telelake
COPY --from=builder /telelake /usr/local/bin/telelake
# For ARM, where the program has glibc's allocator: without this setting it keeps memory for each thread.
ENV MALLOC_ARENA_MAX=2
USER 10001:10001
WORKDIR /var/lib/telelake
VOLUME /var/lib/telelake
# If the container runs `serve`, the daemon is asked if it is alive. Any other command is healthy as long as its process lives.
HEALTHCHECK --interval=1m --timeout=10s --start-period=30s \
    CMD ! grep --quiet --null-data --line-regexp serve /proc/1/cmdline || telelake health || exit 1
ENTRYPOINT ["telelake"]
CMD ["run"]

# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
# The integration test and the bench are not in the image's context, but the manifest names them.
RUN mkdir -p tests/it benches/night && echo 'fn main() {}' | tee tests/it/main.rs benches/build.rs > benches/night/main.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bin telelake \
    && cp target/dist/telelake /telelake

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 telelake \
    && useradd --system --uid 10001 --gid telelake --home-dir /var/lib/telelake --create-home telelake
COPY --from=builder /telelake /usr/local/bin/telelake
USER 10001:10001
WORKDIR /var/lib/telelake
VOLUME /var/lib/telelake
# The program itself, its configuration and its secrets can be read.
HEALTHCHECK --interval=1m --timeout=10s CMD telelake config show > /dev/null
ENTRYPOINT ["telelake"]
CMD ["run"]

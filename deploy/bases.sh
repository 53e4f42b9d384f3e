#!/usr/bin/env bash
# Makes stand-ins for the two base images of the Dockerfile, for a machine that reaches no image registry: a Debian by debootstrap,
# and the same with a C compiler, make and this machine's Rust. Needs root, debootstrap, and podman or docker. `make image-bases` runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

read -ra tool <<<"${IMAGE_TOOL:-$(command -v podman || command -v docker)}"
work=${TRY_FOLDER:-$PWD/target/try-deploy}
suite=bookworm

# shellcheck disable=SC2016 # The fields of apt, not variables.
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' |
  awk -v suite=$suite '$2 == suite { print $1; exit }')
mkdir -p "$work"

make_debian() {
  rm -rf "$work/slim"
  debootstrap --variant=minbase $suite "$work/slim" "$mirror" >"$work/slim.log"
  rm -rf "$work/slim"/var/lib/apt/lists/* "$work/slim"/var/cache/apt/*
  tar --create --directory="$work/slim" --numeric-owner . |
    "${tool[@]}" import --change 'CMD ["bash"]' - docker.io/library/debian:$suite-slim
}

make_rust() {
  rm -rf "$work/rust"
  debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,make $suite "$work/rust" "$mirror" >"$work/rust.log"
  mkdir -p "$work/rust/usr/local/rust" "$work/rust/usr/local/cargo"
  tar --create --directory="$(rustc --print sysroot)" --exclude=./share bin lib |
    tar --extract --directory="$work/rust/usr/local/rust"
  # Trust what this machine trusts, such as the certificate of a proxy.
  cp --archive /usr/local/share/ca-certificates "$work/rust/usr/local/share/"
  chroot "$work/rust" update-ca-certificates >>"$work/rust.log" 2>&1
  tar --create --directory="$work/rust" --numeric-owner . |
    "${tool[@]}" import --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      --change 'ENV CARGO_HOME=/usr/local/cargo' - "docker.io/library/rust:$(rust_tag)"
}

# The tag that the Dockerfile names.
rust_tag() { sed -n 's/^FROM rust:\([^ ]*\) .*/\1/p' Dockerfile; }

make_debian
make_rust
rm -rf "$work/slim" "$work/rust"

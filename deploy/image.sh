#!/usr/bin/env bash
# Builds the image and tries it: the demo, the configuration and the health check as user 10001. Checks that the image contains the
# program and what it needs, and nothing else. Needs docker or podman. IMAGE_TOOL names the tool, with its options; IMAGE_BUILD and
# IMAGE_RUN are further options of `build` and `run`. `make image` runs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

read -ra tool <<<"${IMAGE_TOOL:-$(command -v docker || command -v podman)}"
read -ra build_options <<<"${IMAGE_BUILD:-}"
read -ra run_options <<<"${IMAGE_RUN:-}"
image=${IMAGE:-telelake:0.1.0}
name=telelake-try-$$
work=$(mktemp --directory)

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'image.sh: %s\n' "$*" >&2; exit 1; }

clean() {
  for container in daemon simulator files base; do
    "${tool[@]}" rm --force --volumes "$name-$container" >/dev/null 2>&1 || true
  done
  rm -rf "$work"
}
trap clean EXIT

# Runs a container as in production: only the volume is writable, and there are no capabilities.
run() {
  "${tool[@]}" run "${run_options[@]}" --read-only --cap-drop=ALL --security-opt=no-new-privileges \
    --volume=/var/lib/telelake "$@"
}

build() {
  # In its own format podman leaves the health check out of the image.
  local format=()
  if "${tool[@]}" --version | grep --quiet podman; then format=(--format=docker); fi
  "${tool[@]}" build "${format[@]}" "${build_options[@]}" --tag="$image" .
}

try_commands() {
  say "the demo, and the configuration in force"
  run --rm --network=none "$image" demo
  run --rm --network=none --env=TELELAKE_API__TOKEN=s3cr3t "$image" config show >"$work/config"
  grep --quiet '^url = "file:///var/lib/telelake"$' "$work/config" || fail "another store than the volume"
  if grep s3cr3t "$work/config"; then fail "the token is shown"; fi
  [ "$(run --rm --network=none --entrypoint=id "$image" --user)" = 10001 ] || fail "not user 10001"
}

# Runs the health check of the image in one of the containers.
check_health() {
  local container=$1 command
  shift
  command=$("${tool[@]}" container inspect --format '{{index .Config.Healthcheck.Test 1}}' "$name-$container")
  "${tool[@]}" exec "$@" "$name-$container" sh -c "$command"
}

try_health() {
  say "the health check"
  run --detach --name="$name-simulator" --network=none "$image" simulate --listen=127.0.0.1:9000 >/dev/null
  run --detach --name="$name-daemon" --network="container:$name-simulator" \
    --env=TELELAKE_API__BASE_URL=http://127.0.0.1:9000/v1 --env=TELELAKE_API__TOKEN=simulator-token \
    --env=TELELAKE_SERVE__LISTEN=0.0.0.0:8080 --env=TELELAKE_SERVE__TOKEN="$(head --bytes=24 /dev/urandom | base64)" \
    "$image" serve >/dev/null
  for _ in $(seq 60); do
    if check_health daemon; then break; fi
    sleep 1
  done
  check_health daemon || { "${tool[@]}" logs "$name-daemon"; fail "the daemon is not alive"; }
  local status=0
  check_health daemon --env=TELELAKE_SERVE__LISTEN=127.0.0.1:1 || status=$?
  [ $status = 1 ] || fail "a daemon that does not answer has status $status"
  check_health simulator || fail "a container with another command is not well"
}

# Lists the files of an image by path: path, owner and mode.
files() {
  "${tool[@]}" create --name="$name-$2" "$1" true >/dev/null
  "${tool[@]}" export "$name-$2" | tar --list --verbose --numeric-owner |
    awk '{ mode = $1; owner = $2; $1 = $2 = $3 = $4 = $5 = ""; sub(/^ +/, ""); sub(/ -> .*/, ""); print $0 "\t" owner "\t" mode }' |
    sort >"$work/$2"
}

try_content() {
  say "the content"
  local debian new
  debian=$(sed -n 's/^FROM \(debian:.*\)/\1/p' Dockerfile)
  files "$image" files
  files "$debian" base
  # The new paths, without folders.
  new=$(comm -13 <(cut --fields=1 "$work/base" | sort) <(cut --fields=1 "$work/files" | sort) | grep --invert-match '/$')
  # The program, certificates with their tools, and the notes of the package manager.
  local expected='^(usr/local/bin/telelake|usr/share/ca-certificates/|etc/ca-certificates|etc/ssl/|usr/lib/ssl/|usr/bin/(openssl|c_rehash)$'
  expected+='|usr/sbin/update-ca-certificates|usr/share/(doc|man|lintian|perl5|locale)/|usr/lib/[^/]*/(libssl|libcrypto|engines-3|ossl-modules)'
  expected+='|var/lib/(dpkg/|apt/extended_states)|(etc/(hosts|hostname|resolv.conf)|.dockerenv)$|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|usr/local/share/ca-certificates)'
  if grep --extended-regexp --invert-match "$expected" <<<"$new"; then fail "these files are not needed"; fi
  if grep --extended-regexp '\.(rs|toml|lock|d|rlib)$|_history$|(^|/)(target|\.cargo|\.git)/' <<<"$new"; then fail "these files belong to the build"; fi
  grep --quiet --perl-regexp '^usr/local/bin/telelake\t0/0\t-rwxr-xr-x$' "$work/files" || fail "the program's owner or mode"
  grep --quiet --perl-regexp '^var/lib/telelake/\t10001/10001\tdrwxr-x---$' "$work/files" || fail "the volume's owner or mode"
  # Root owns every new file, and no new file runs as another user.
  grep --fixed-strings --line-regexp --file=<(printf '%s\n' "$new") <(cut --fields=1 "$work/files") >/dev/null
  awk -F'\t' 'NR == FNR { new[$0]; next } ($1 in new) && ($2 !~ /^0\// || $3 ~ /s/)' <(printf '%s\n' "$new") "$work/files" >"$work/odd"
  if [ -s "$work/odd" ]; then cat "$work/odd"; fail "these files do not belong to root, or run as another user"; fi
  local mebibytes=1048576 size of_debian
  size=$("${tool[@]}" image inspect --format '{{.Size}}' "$image")
  of_debian=$("${tool[@]}" image inspect --format '{{.Size}}' "$debian")
  printf '%s files over %s; %s MiB, %s of them over it\n' "$(wc --lines <<<"$new")" "$debian" \
    $((size / mebibytes)) $(((size - of_debian) / mebibytes))
  [ $(((size - of_debian) / mebibytes)) -lt 80 ] || fail "too large"
}

[ ${#tool[@]} -gt 0 ] || fail "needs docker or podman"
say "build"
build
try_commands
try_health
try_content
say "$image is good"

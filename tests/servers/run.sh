#!/bin/sh
# Runs two nights with a kill, and two processes at once, into S3 servers other than the tests' own.
#   run.sh [ceph] [moto] [s3rver] [seaweedfs]      all of them by default
# moto and s3rver are installed into .tools/ at the versions below. Ceph comes from Debian, where this runs as root.
set -eu
cd "$(dirname "$0")/../.."
MOTO=5.2.5 S3RVER=3.7.1
tools=$PWD/.tools/servers
mkdir -p "$tools"
work=$(mktemp -d)
server=
end() { [ -z "$server" ] || { exec 8>&-; kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=; }; }
trap 'end; rm -rf "$work"' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers() { python3 -c 'import socket, sys, time
for _ in range(1200):
    try: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close(); sys.exit(0)
    except OSError: time.sleep(0.1)
sys.exit("no server at port " + sys.argv[1])' "$1"; }
nights() {
  TELELAKE_TEST_S3_NAME=$1 TELELAKE_TEST_S3=$2 ${CARGO:-cargo} test --locked --test it -- --nocapture --test-threads=1 soak::servers::
}
ceph() {
  if ! command -v radosgw >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "Ceph is left out: install Debian's ceph-mon, ceph-mgr, ceph-osd, radosgw and ceph-common" >&2; return 0; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ceph-mon ceph-mgr ceph-osd radosgw ceph-common >/dev/null
  fi
  port=$(free_port)
  mkfifo "$work/stdin"
  tests/servers/ceph.sh "$work/ceph" "$port" AKIACEPH secret <"$work/stdin" >"$work/out" 2>&1 & server=$!
  exec 8>"$work/stdin"
  until grep -q ready "$work/out"; do kill -0 "$server" || { cat "$work/out"; return 1; }; sleep 0.2; done
  answers "$port"
  nights "$(radosgw --version | cut -d' ' -f1-3)" "http://127.0.0.1:$port AKIACEPH secret"
}
moto() {
  [ -x "$tools/moto/bin/moto_server" ] || python3 -m venv "$tools/moto"
  "$tools/moto/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$MOTO"
  port=$(free_port)
  "$tools/moto/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto" 2>&1 & server=$!
  answers "$port"
  nights "moto $MOTO" "http://127.0.0.1:$port AKIAMOTO secret"
}
s3rver() {
  mkdir "$work/s3rver"
  npm install --silent --no-audit --no-fund --prefix "$tools/s3rver" "s3rver@$S3RVER"
  port=$(free_port)
  node "$tools/s3rver/node_modules/s3rver/bin/s3rver.js" -d "$work/s3rver" -a 127.0.0.1 -p "$port" >"$work/s3rver.out" 2>&1 & server=$!
  answers "$port"
  nights "s3rver $S3RVER" "http://127.0.0.1:$port S3RVER S3RVER"
}
seaweedfs() { env -u TELELAKE_TEST_S3 TELELAKE_TEST_S3_NAME=SeaweedFS ${CARGO:-cargo} test --locked --test it -- --nocapture --test-threads=1 soak::servers::; }
failed=
for name in ${*:-ceph moto s3rver seaweedfs}; do
  "$name" || failed="$failed $name"
  end
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }

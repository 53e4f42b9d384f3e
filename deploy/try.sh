#!/usr/bin/env bash
# Walks through deploy/README.md in a fresh Debian: runs each block that is marked `sh`, in order and word for word, against the
# simulator, and checks the result of each. systemd and cron are real; the network is loopback only. Needs root, debootstrap and
# systemd-container. `make try-deploy` runs it.
#
# `try.sh source [WORD]` instead runs the first commands of the README (those that contain WORD) in another fresh Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly work=${TRY_FOLDER:-$PWD/target/try-deploy}
readonly binary=${TRY_BINARY:-target/debug/telelake}
readonly suite=bookworm
readonly base=$work/base root=$work/root
# The place of the source tree in the new root, and the address of the simulator.
readonly tree=/root/telelake simulator=127.0.0.1:9000
readonly token=simulator-token
readonly weed=.tools/venv/bin/weed

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'try.sh: %s\n' "$*" >&2; exit 1; }

# Runs a command in the booted root, as root, with the environment of a login.
inside() {
  nsenter --target="$leader" --all -- env --ignore-environment HOME=/root LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# Waits up to a minute and a half for a command to succeed, because cron reads its tables once a minute.
until_true() {
  for _ in $(seq 90); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 1
  done
  fail "did not succeed within 90 s: $*"
}

# --- The root -------------------------------------------------------------------------------------------------------

make_base() {
  if [ -e "$base/.whole" ]; then return; fi
  local mirror
  # shellcheck disable=SC2016 # The fields of apt, not variables.
  mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' |
    awk -v suite=$suite '$2 == suite { print $1; exit }')
  [ -n "$mirror" ] || fail "apt names no mirror of $suite"
  rm -rf "$base"
  mkdir -p "$work"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,cron,sudo,ca-certificates,curl,nginx-light \
    $suite "$base" "$mirror" >"$work/debootstrap.log" || fail "see $work/debootstrap.log"
  touch "$base/.whole"
}

make_root() {
  rm -rf "$root"
  cp --archive --reflink=auto "$base" "$root"
  mkdir -p "$root$tree/target/release"
  cp --archive README.md deploy "$root$tree/"
  echo fresh >"$root/etc/hostname"
  echo "127.0.0.1 localhost fresh" >"$root/etc/hosts"
  install --mode=0755 "$binary" "$root$tree/target/release/telelake"
}

boot() {
  systemd-nspawn --quiet --directory="$root" --private-network --register=no --keep-unit --boot --console=pipe \
    </dev/null >"$work/boot.log" 2>&1 &
  nspawn=$!
  trap stop EXIT
  for _ in $(seq 60); do
    leader=$(pgrep --parent $nspawn || true)
    if [ -n "$leader" ] && inside systemctl is-system-running --wait >"$work/state" 2>&1; then return; fi
    kill -0 $nspawn 2>/dev/null || break
    sleep 1
  done
  fail "the root does not boot: $(cat "$work/state"); see $work/boot.log"
}

stop() {
  kill -TERM $nspawn 2>/dev/null || true
  wait $nspawn 2>/dev/null || true
}

start_simulator() {
  inside systemd-run --quiet --unit=simulator "$tree/target/release/telelake" simulate --listen $simulator \
    --timezone Europe/Moscow --token $token
  until_true inside curl --silent --output /dev/null http://$simulator/
}

# --- The blocks of the text -----------------------------------------------------------------------------------------

# Writes each block ```sh NAME into a numbered file of its own. A block of shell without a name is an error.
extract() {
  rm -rf "$work/blocks"
  mkdir "$work/blocks"
  awk -v folder="$work/blocks" '
    /^```sh/ { if (!$2) { print "a block of shell without a name: line " NR; exit 1 }
               file = sprintf("%s/%02d-%s", folder, ++count, $2); next }
    /^```/   { file = ""; next }
    file     { print > file }' deploy/README.md || fail "deploy/README.md"
}

walk() {
  local block name
  for block in "$work"/blocks/*; do
    name=${block##*/}
    name=${name#*-}
    say "$name"
    if declare -F "before_${name//-/_}" >/dev/null; then "before_${name//-/_}"; fi
    sed 's/^/  | /' "$block"
    install "$block" "$root/root/block"
    # Standard input is what a person would type: the token.
    echo $token | inside bash -c "cd $tree && exec bash -euo pipefail /root/block" || fail "$name failed"
    if declare -F "after_${name//-/_}" >/dev/null; then "after_${name//-/_}"; fi
  done
}

# --- The checks after each block ------------------------------------------------------------------------------------

as_service() { inside sudo -u telelake "$@"; }

# Counts the tables of calls in a lake's folder.
tables() { inside find "$1/calls" -name '*.parquet' 2>/dev/null | wc -l; }
has_tables() { [ "$(tables "$1")" -gt 0 ]; }
runs() { inside find "$1/_telelake/runs" -name '*.json' 2>/dev/null | wc -l; }
more_runs_than() { [ "$(runs "$1")" -gt "$2" ]; }

# Everything in the folders of the service belongs to the service.
all_is_the_services() {
  local others
  others=$(inside find /var/lib/telelake -not -user telelake)
  [ -z "$others" ] || fail "these do not belong to the service: $others"
}

after_configure() {
  # The one line that a real configuration does not have: the address of the simulator.
  inside sed --in-place "s|^\[api\]|&\nbase_url = \"http://$simulator/v1\"|" /etc/telelake/telelake.toml
}

after_token() {
  local file
  for file in telelake.toml token serve-token; do
    [ "$(inside stat --format=%U:%G:%a /etc/telelake/$file)" = root:telelake:640 ] || fail "the mode of $file"
    if inside sudo -u nobody cat /etc/telelake/$file 2>/dev/null; then fail "$file is open to all"; fi
  done
}

after_daemon() {
  # `systemctl enable --now` has returned, so the daemon answers.
  inside curl --fail --silent http://127.0.0.1:8080/healthz
  until_true has_tables /var/lib/telelake/lake
  check_process telelake
  [ "$(api_status another-token-than-the-right-one)" = 401 ] || fail "the API answers without the token"
  [ "$(api_status "$(inside cat /etc/telelake/serve-token)")" = 200 ] || fail "the daemon has another token"
}

# Prints the status with which the daemon's API answers to a token.
api_status() {
  inside curl --silent --output /dev/null --write-out '%{http_code}' --header "Authorization: Bearer $1" \
    http://127.0.0.1:8080/api/status
}

# Checks the running unit as the kernel sees it: no core dumps, no capabilities and no way to get any, a filter of system calls.
check_process() {
  local pid
  pid=$(inside systemctl show --property=MainPID --value "$1")
  inside grep -q '^Max core file size  *0  *0 ' "/proc/$pid/limits" || fail "$1 may dump core"
  inside grep -q '^CapEff:\s*0000000000000000$' "/proc/$pid/status" || fail "$1 has capabilities"
  inside grep -q '^NoNewPrivs:\s*1$' "/proc/$pid/status" || fail "$1 may gain privileges"
  inside grep -q '^Seccomp:\s*2$' "/proc/$pid/status" || fail "$1 has no filter of system calls"
}

after_reload() {
  until_true new_token_is_taken
}
new_token_is_taken() { [ "$(api_status "$(inside cat /etc/telelake/serve-token)")" = 200 ]; }

after_by_hand() {
  all_is_the_services
  [ "$(tables /var/lib/telelake/lake)" -gt 2 ] || fail "the backfill left no tables"
}

# Makes the certificate that the proxy's file names.
before_proxy() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lake.example.org \
    -keyout "$root/etc/ssl/private/lake.example.org.key" -out "$root/etc/ssl/lake.example.org.pem" 2>/dev/null
}

# Sends an event of the first space through the proxy, signed with a secret; prints the status of the answer.
send_event() {
  local body signature
  body="{\"eventName\":\"call_finished\",\"spaceId\":\"$space\",\"roomId\":\"$room\"}"
  signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$1" -r | cut --delimiter=' ' --fields=1)
  ask_proxy /webhooks/teleboss --header 'Content-Type: application/json' \
    --data "{\"signature\":\"$signature\",\"body\":$body}"
}

# Requests a path from outside, with further options of curl; prints the status of the answer.
ask_proxy() {
  local path=$1
  shift
  inside curl --silent --insecure --resolve lake.example.org:443:127.0.0.1 --output /dev/null --write-out '%{http_code}' \
    "$@" "https://lake.example.org$path"
}

after_webhooks() {
  local secrets=/var/lib/telelake/secrets before path
  space=$(inside find $secrets -type f -printf '%f\n' | sort | head --lines=1)
  room=$(inside find /var/lib/telelake/lake/raw/reports -path "*/$space/*" -printf '%f\n' | head --lines=1)
  [ -n "$space" ] || fail "no secret was kept"
  [ "$(inside stat --format=%U:%a $secrets "$secrets/$space" | tr '\n' ' ')" = "telelake:700 telelake:600 " ] ||
    fail "the modes of the secrets"
  before=$(inside head --lines=1 "$secrets/$space")
  [ "$(send_event "$before")" = 200 ] || fail "a signed event was refused"
  [ "$(send_event forged)" = 401 ] || fail "a forged event was taken"
  for path in / /healthz /api/status /metrics; do
    [ "$(ask_proxy $path)" = 404 ] || fail "$path is open to others"
  done
  # If the daemon can't read the secret, it says so and does not call the event forged.
  inside sh -c "cat $secrets/$space >/root/secret; install --mode=0600 /root/secret $secrets/$space"
  [ "$(send_event "$before")" = 503 ] || fail "a secret that can't be read is blamed on the sender"
  until_true inside sh -c "journalctl --no-pager --unit=telelake | grep 'ERROR.*webhook.secrets_dir'"
  # The daemon reads a secret that the program wrote as root, without a restart.
  inside telelake webhook rotate-secret
  all_is_the_services
  [ "$(inside head --lines=1 "$secrets/$space")" != "$before" ] || fail "the secret is the old one"
  [ "$(send_event "$(inside head --lines=1 "$secrets/$space")")" = 200 ] || fail "the new secret of root is not taken"
  [ "$(send_event "$before")" = 401 ] || fail "the old secret is still taken"
}

after_timer() {
  if inside systemctl is-active --quiet telelake; then fail "the daemon still runs"; fi
  # Makes the timer fire every five seconds.
  local before
  before=$(runs /var/lib/telelake/lake)
  inside install --directory /run/systemd/system/telelake-run.timer.d
  printf '[Timer]\nOnCalendar=\nOnCalendar=*:*:0/5\nRandomizedDelaySec=0\nAccuracySec=1s\n' |
    inside tee /run/systemd/system/telelake-run.timer.d/soon.conf >/dev/null
  inside systemctl daemon-reload
  inside systemctl restart telelake-run.timer
  until_true more_runs_than /var/lib/telelake/lake "$before"
  inside rm -r /run/systemd/system/telelake-run.timer.d
  inside systemctl daemon-reload
  inside systemctl restart telelake-run.timer
  all_is_the_services
}

after_run_now() {
  [ "$(inside systemctl show --property=Result --value telelake-run)" = success ] || fail "the run failed"
  as_service telelake status
}

after_cron() {
  # The same line of cron, but due each minute.
  local before
  before=$(runs /var/lib/telelake/lake)
  inside sed --in-place 's/^0 2 /* * /' /etc/cron.d/telelake
  until_true more_runs_than /var/lib/telelake/lake "$before"
  # A failure is reported in the system's log, because there is no mail server.
  inside mv /etc/telelake/token /etc/telelake/token.away
  until_true inside sh -c 'journalctl --identifier=telelake --no-pager | grep api.token'
  inside mv /etc/telelake/token.away /etc/telelake/token
  inside rm /etc/cron.d/telelake
  all_is_the_services
}

after_other_folder() {
  has_tables /srv/lake || fail "no tables in the other folder"
  inside sed --in-place 's|^url = .*|url = "file:///var/lib/telelake/lake"|' /etc/telelake/telelake.toml
}

# Commands by hand and the unit find the keys, on a real S3 server.
after_s3() {
  local s3=127.0.0.1:8333 unit=/run/systemd/system/telelake-run.service.d
  [ -x "$weed" ] || fail "needs the S3 server: make tools"
  inside sed --in-place 's|<key id>|telelake|; s|<key>|s3cr3t-of-s3|' /var/lib/telelake/.aws/credentials
  install --mode=0755 "$weed" "$root/root/weed"
  inside systemd-run --quiet --unit=weed --setenv=AWS_ACCESS_KEY_ID=telelake --setenv=AWS_SECRET_ACCESS_KEY=s3cr3t-of-s3 \
    /root/weed mini -dir=/root -ip=127.0.0.1 -ip.bind=127.0.0.1 -webdav=false -admin.ui=false -s3.port=${s3#*:}
  until_true inside curl --fail --silent --request PUT --user telelake:s3cr3t-of-s3 --aws-sigv4 aws:amz:us-east-1:s3 http://$s3/lake
  local variables=(TELELAKE_STORE__URL=s3://lake/teleboss "TELELAKE_STORE__S3__ENDPOINT_URL=http://$s3"
    TELELAKE_STORE__S3__PATH_STYLE=true TELELAKE_STORE__S3__REGION=us-east-1)
  as_service env "${variables[@]}" telelake check
  inside install --directory $unit
  printf '[Service]\nEnvironment=%s\n' "${variables[*]}" | inside tee $unit/s3.conf >/dev/null
  inside systemctl daemon-reload
  inside systemctl start telelake-run
  as_service env "${variables[@]}" telelake status
  inside rm -r $unit
  inside systemctl stop weed
  inside systemctl daemon-reload
}

after_credentials() {
  if as_service cat /etc/telelake/token 2>/dev/null; then fail "the token is open to the service's user"; fi
  inside systemctl start telelake
  as_service telelake health
  [ "$(api_status "$(inside cat /etc/telelake/serve-token)")" = 200 ] || fail "the daemon has another token"
  inside systemctl stop telelake
  all_is_the_services
  inside chmod 0640 /etc/telelake/token /etc/telelake/serve-token
}

before_upgrade() { inside systemctl enable --now telelake; }
after_upgrade() { check_process telelake; }
after_roll_back() { as_service telelake health; }

after_uninstall() {
  has_tables /var/lib/telelake/lake || fail "the lake is gone"
  [ -z "$(inside find /etc /usr/local -name '*telelake*')" ] || fail "files of telelake are left"
}

# --- The units ------------------------------------------------------------------------------------------------------

# systemd finds no error in the units, and rates their exposure (0 is best, 10 worst) at 1.5 or less.
judge_units() {
  say "systemd's judgement"
  local unit
  for unit in deploy/systemd/*; do install --mode=0644 "$unit" "$root/etc/systemd/system/"; done
  install "$binary" "$root/usr/local/bin/telelake"
  systemd-analyze verify --recursive-errors=one --root="$root" telelake.service telelake-run.service telelake-run.timer
  for unit in telelake telelake-run; do
    systemd-analyze security --offline=true --root="$root" --threshold=15 --no-pager $unit.service >"$work/$unit.security" ||
      fail "$unit is too open: see $work/$unit.security"
    tail --lines=1 "$work/$unit.security"
  done
  rm "$root"/etc/systemd/system/telelake* "$root/usr/local/bin/telelake"
}

# --- From source ----------------------------------------------------------------------------------------------------

# Runs the first commands of the README in a Debian with the packages that it names and this machine's Rust; $1 selects the commands
# that contain a word. CARGO_BUILD_JOBS and CARGO_PROFILE_… of the environment apply there too.
try_source() {
  local rust command source=$work/source
  rust=$(rustc --print sysroot)
  local variables
  mapfile -t variables < <(env | sed -n 's/^CARGO_\(BUILD_JOBS\|PROFILE_\)/--setenv=&/p')
  mapfile -t commands < <(awk '/^```/ { inside = ($2 == "source"); next } inside' README.md | grep -- "$1")
  [ ${#commands[@]} -gt 0 ] || fail "the README has no such command"
  rm -rf "$source"
  cp --archive --reflink=auto "$base" "$source"
  cp --archive /usr/local/share/ca-certificates "$source/usr/local/share/"
  mkdir -p "$source/usr/local/rust" "$source/root/.cargo/registry" "$source$tree"
  git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$source$tree"
  local packages
  # shellcheck disable=SC2016 # Backticks of the text.
  packages=$(sed -n 's/^`\(.* gcc .*\)`\..*/\1/p' README.md)
  for command in "update-ca-certificates" "apt-get update -qq" "apt-get install -qq --yes --no-install-recommends $packages" "${commands[@]}"; do
    say "$command"
    systemd-nspawn --quiet --directory="$source" --register=no --keep-unit --console=pipe --chdir=$tree \
      --bind-ro="$rust:/usr/local/rust" --setenv=PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      "${variables[@]}" --setenv=DEBIAN_FRONTEND=noninteractive bash -c "$command" </dev/null || fail "$command"
  done
  say "the README's commands were run"
}

[ "$(id --user)" = 0 ] || fail "needs root"
[ -x "$binary" ] || fail "$binary is not built"
for tool in debootstrap systemd-nspawn systemd-analyze openssl; do
  command -v $tool >/dev/null || fail "needs $tool (Debian: apt-get install debootstrap systemd-container openssl)"
done
say "a fresh Debian"
make_base
if [ "${1-}" = source ]; then
  try_source "${2-}"
  exit
fi
make_root
judge_units
extract
boot
start_simulator
walk
say "all of deploy/README.md was run"

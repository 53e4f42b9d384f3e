#!/bin/sh
# Runs Ceph's S3 gateway with one monitor, one manager and one OSD in a folder, on 127.0.0.1, in the foreground.
#   ceph.sh <folder> <port of S3> <access key> <secret key>
# Needs root and Debian's ceph-mon, ceph-mgr, ceph-osd and radosgw. Everything it starts ends when its stdin closes.
set -eu
dir=$1 port=$2 access=$3 secret=$4
mon=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
fsid=$(cat /proc/sys/kernel/random/uuid)
mkdir -p "$dir/mon" "$dir/mgr" "$dir/osd" "$dir/rgw" "$dir/run" "$dir/log"
export CEPH_CONF="$dir/ceph.conf"
cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon host = [v1:127.0.0.1:$mon]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
mon allow pool size one = true
mon allow pool delete = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 4294967296
mon warn on pool no redundancy = false
run dir = $dir/run
admin socket = $dir/run/\$name.asok
log file = $dir/log/\$name.log
pid file =
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $dir/rgw
rgw zone = default
rgw bucket default quota max objects = -1
END
monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon]" "$dir/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$dir/monmap" --no-mon-config >/dev/null 2>&1 || ceph-mon --mkfs -i a --monmap "$dir/monmap"
pids=
stop() { for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done; }
trap stop EXIT
start() { "$@" >>"$dir/log/out" 2>&1 </dev/null & pids="$! $pids"; }
start ceph-mon -f -i a
start ceph-mgr -f -i a
uuid=$(cat /proc/sys/kernel/random/uuid)
id=$(ceph osd new "$uuid")
ceph-osd --mkfs -i "$id" --osd-uuid "$uuid" >>"$dir/log/out" 2>&1
start ceph-osd -f -i "$id"
start radosgw -f -n client.rgw.a
radosgw-admin -n client.rgw.a user create --uid=lake --display-name=lake --access-key="$access" --secret="$secret" >>"$dir/log/out" 2>&1
echo ready
cat >/dev/null

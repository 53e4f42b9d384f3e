"""Runs deploy/slurm/backfill.sh in a real Slurm: one node, an array of four tasks. `make slurm` calls it, as root, on Debian with
slurm-wlm and munge. A line that begins with SOAK gives the result."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from school import FIRST, LAST, PROGRAM, ROOT, assert_same_lake, environment, simulator, telelake

TASKS = 4
DAEMONS = ["munged", "slurmctld", "slurmd", "sbatch"]

CONFIG = """\
ClusterName=telelake
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/none
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# Listen on the loopback address alone, and take the number of processors from here.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={tasks} RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def cluster(folder: Path):
    """A cluster of one node. Gives the environment of its commands."""
    host = socket.gethostname().split(".")[0]
    controller, node = free_ports(2)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    munge = folder / "munge"
    (munge / "key").write_bytes(os.urandom(128))
    (munge / "key").chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, controller=controller, node=node, tasks=TASKS))
    env = {**environment(), "SLURM_CONF": str(config), "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    subprocess.run(["munged", "--force", *(f"--{name}={munge / file}" for name, file in options.items())], check=True)
    pids = [munge / "pid"]
    try:
        wait("munge", lambda: (munge / "socket").exists() and (munge / "pid").exists())
        for daemon, args in (("slurmctld", ["-i"]), ("slurmd", ["-N", host])):
            subprocess.run([daemon, *args], env=env, check=True)
            pids.append(folder / f"{daemon}.pid")
        ready = ["sinfo", "--noheader", "--format=%T"]
        wait("an idle node", lambda: subprocess.run(ready, env=env, capture_output=True, text=True).stdout.strip() == "idle")
        yield env
    finally:
        for file in reversed(pids):
            if file.exists():
                os.kill(int(file.read_text()), signal.SIGTERM)
        time.sleep(1)


def wait(what: str, holds):
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within a minute: {what}")


def submit(env: dict[str, str], folder: Path, *options: str) -> str:
    """Submits the array, and gives its id."""
    command = ["sbatch", "--parsable", f"--output={folder}/%A.%a.log", *options]
    command += [str(ROOT / "deploy/slurm/backfill.sh"), str(FIRST), str(LAST)]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()


def states(env: dict[str, str], job: str) -> dict[str, str]:
    """The states of the tasks by their number."""
    show = ["squeue", "--noheader", "--states=all", "--array", f"--jobs={job}", "--format=%K %T"]
    lines = subprocess.run(show, env=env, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split() for line in lines)


def ended(env: dict[str, str], job: str, tasks: int) -> dict[str, str]:
    """Waits for the end of all tasks, and gives their states."""
    over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
    wait(f"the end of job {job}", lambda: len(found := states(env, job)) == tasks and set(found.values()) <= over)
    return states(env, job)


def shared_job(lake: dict[str, str]) -> dict:
    return json.loads(telelake(lake, "status", "--json"))["shared_jobs"][0]


def main() -> None:
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"needs root, and {', '.join(missing) or 'nothing else'}: apt-get install slurm-wlm munge")
    with tempfile.TemporaryDirectory() as name, simulator() as api, cluster(Path(name)) as slurm:
        folder = Path(name)

        def lake(name: str) -> dict[str, str]:
            return {**slurm, **api, "TELELAKE_STORE__URL": f"file://{folder}/{name}"}

        alone, array, again = lake("alone"), lake("array"), lake("again")
        telelake(alone, "backfill", "--from", str(FIRST), "--to", str(LAST))

        job = submit(array, folder)
        done = ended(array, job, TASKS)
        assert set(done.values()) == {"COMPLETED"}, (done, *(file.read_text() for file in folder.glob("*.log")))
        assert shared_job(array)["whole"] and shared_job(array)["job"].startswith(f"{job}-"), shared_job(array)
        assert_same_lake(folder / "array", folder / "alone")

        job = submit(again, folder)
        wait("a running task", lambda: states(again, job).get("2") == "RUNNING")
        subprocess.run(["scancel", f"{job}_2"], env=again, check=True)
        assert ended(again, job, TASKS)["2"] == "CANCELLED"
        assert not shared_job(again)["whole"], shared_job(again)
        env = {**again, "TELELAKE_JOB": job, "TELELAKE_SHARDS": str(TASKS)}
        assert ended(env, submit(env, folder, "--array=2"), 1) == {"2": "COMPLETED"}
        assert shared_job(again)["whole"], shared_job(again)
        assert_same_lake(folder / "again", folder / "alone")
    print(f"SOAK slurm: an array of {TASKS} tasks, and one with a cancelled task that was submitted again: the lakes are that of one process")


main()

"""What the tests of Dagster and Airflow share: telelake as a process, the simulated API, a proxy that lets requests fail, and
the comparison of two lakes."""

import hashlib
import http.client
import json
import os
import subprocess
import threading
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LAKE_PROGRAM", str(ROOT / "target/debug/telelake"))
FIRST, DATES, SPACES = date(2025, 3, 3), 7, 2
LAST = FIRST + timedelta(days=DATES - 1)


def environment(**more: str) -> dict[str, str]:
    """The environment of a process, without settings of the caller's telelake."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TELELAKE_")}
    # The school is years old: what is late must not count as lost.
    return {**own, "TELELAKE_EXPORT__GIVE_UP": "100years", **more}


def telelake(env: dict[str, str], *args: str, status: int = 0) -> str:
    """Runs telelake to its end, and gives what it printed."""
    done = subprocess.run([PROGRAM, "--quiet", *args], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def simulator():
    """The vendor's API on loopback. Gives the two variables that reach it."""
    command = [PROGRAM, "simulate", "--spaces", str(SPACES), "--rooms", "4", "--recording-size", "20KB"]
    command += ["--from", str(FIRST), "--days", str(DATES)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline().strip() for _ in range(2)]
        yield dict(line.split("=", 1) for line in lines)
    finally:
        process.terminate()
        process.wait(timeout=30)


class Proxy:
    """Passes requests on to the API, except that the first request with each text in `once` is answered with 503."""

    def __init__(self, base_url: str):
        self.once: set[str] = set()
        self.failed: list[str] = []
        target, lock = urlsplit(base_url), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with lock:
                    text = next((text for text in proxy.once if text in self.path), None)
                    if text is not None:
                        proxy.once.remove(text)
                        proxy.failed.append(text)
                if text is not None:
                    self.answer(503, b'{"message":"come again","code":null}', {"content-type": "application/json"})
                    return
                connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
                connection.request("GET", self.path, headers=dict(self.headers))
                answer = connection.getresponse()
                self.answer(answer.status, answer.read(), dict(answer.getheaders()))
                connection.close()

            def answer(self, status: int, body: bytes, headers: dict[str, str]):
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self.server.server_port}{target.path}"


def assert_keeps_nothing_personal(files, token: str, reference: Path, sign: str):
    """Fails if an engine's files have the token, or a name, an address or a telephone of the school. `sign` is a text that they
    have, as a proof that they are the ones that were written."""
    tables = (pq.read_table(file, partitioning=None) for file in reference.glob("participants/*/*.parquet"))
    people = [row for table in tables for row in table.to_pylist()]
    personal = {row[column] for row in people for column in ("name", "email", "phone") if row[column]}
    assert len(personal) > 50, "the school has people"
    has_sign = False
    for file in files:
        try:
            text = file.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            # A journal of a database, which has gone into the database meanwhile.
            continue
        has_sign |= sign in text
        assert token not in text, file
        assert not [word for word in personal if word in text], file
    assert has_sign


def manifests(lake: Path) -> dict[str, dict]:
    """The manifests of a lake by the key of the partition."""
    read = [json.loads(file.read_text()) for file in lake.glob("_telelake/days/*/*.json")]
    return {f"{day['date']}|{day['space_id']}": day for day in read}


# As in tests/it/reliability/compared.rs: what tells the time or the place of writing.
TIME_OR_PLACE = {"landed_at", "listed_at", "built_at", "received_at", "probed_at", "uri", "url", "endpoint"}
TIMED_TABLES = {"coverage", "days", "recordings", "user_meta"}


def gist(lake: Path) -> dict[str, str]:
    """The contents of a lake by key, without runs, indexes, and times and places of writing."""
    left_out = ("runs/", "logs/", "shards/", "open/", "index/", "tmp/", "lock")
    left_out = tuple(f"_telelake/{name}" for name in left_out)
    keys = (str(file.relative_to(lake)) for file in lake.rglob("*") if file.is_file())
    return {key: gist_of(lake / key, key) for key in sorted(keys) if not key.startswith(left_out)}


def gist_of(file: Path, key: str) -> str:
    if key.endswith(".parquet"):
        table = pq.read_table(file, partitioning=None)
        kept = [name for name in table.column_names if name not in TIME_OR_PLACE]
        return digest(repr(table.select(kept).to_pylist()))
    if key.startswith("_telelake/") and key.endswith(".json"):
        return json.dumps(scrubbed(json.loads(file.read_text())), sort_keys=True)
    return digest(file.read_bytes())


def digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def scrubbed(value):
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: scrubbed(field) for name, field in value.items() if name not in TIME_OR_PLACE}
    for table in TIMED_TABLES & kept.keys():
        if isinstance(kept[table], dict) and "sha256" in kept[table]:
            kept[table] = {"rows": kept[table]["rows"]}
    return kept


def assert_same_lake(lake: Path, reference: Path):
    """Fails if an object of one lake is missing in the other or differs."""
    found, expected = gist(lake), gist(reference)
    assert sum(key.endswith(".parquet") for key in expected) > 50, "the reference holds a school"
    differing = [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]
    shown = "\n".join(f"{key}\n  {found.get(key)}\n  {expected.get(key)}" for key in differing[:5])
    assert not differing, f"{len(differing)} objects differ:\n{shown}"

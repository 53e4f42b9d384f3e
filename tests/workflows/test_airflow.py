"""deploy/airflow in a real Airflow with SQLite: `airflow dags test` runs the DAG over all days. Two days fail once."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import school

BIN = Path(sys.executable).parent
# The night after the last date. The DAG runs at 3 o'clock.
NIGHT = "2025-03-10T03:00:00"
ALL = json.dumps({"from": str(school.FIRST), "to": str(school.LAST)})


class Airflow:
    """An Airflow of its own in a folder."""

    def __init__(self, home: Path, env: dict[str, str]):
        self.home = home
        self.env = school.environment(
            AIRFLOW_HOME=str(home),
            AIRFLOW__CORE__DAGS_FOLDER=str(school.ROOT / "deploy/airflow"),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            LAKE_PROGRAM=school.PROGRAM,
            LAKE_RETRY_DELAY="0",
            LAKE_REQUESTS_PER_SECOND="0",
            **env,
        )
        self.cli("db", "migrate")
        self.cli("pools", "set", "telelake_api", "2", "requests to teleboss")

    def cli(self, *args: str, **env: str) -> str:
        command = [BIN / "airflow", *args]
        done = subprocess.run(
            command, env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
        )
        with open(self.home / "output.log", "a") as log:
            log.write(done.stdout)
        assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout[-5000:]}"
        return done.stdout

    def night(self, at: str, conf: str = "{}", **env: str) -> dict[str, list[tuple[str, int]]]:
        """Runs the DAG for a night. Gives the states and tries of its tasks, by task and then by index."""
        self.cli("dags", "test", "telelake", at, "--conf", conf, **env)
        rows = self.query(
            "SELECT task_id, state, try_number FROM task_instance WHERE run_id = "
            "(SELECT run_id FROM dag_run ORDER BY id DESC LIMIT 1) ORDER BY task_id, map_index"
        )
        states: dict[str, list[tuple[str, int]]] = {}
        for task, state, tries in rows:
            states.setdefault(task, []).append((state, tries))
        return states

    def query(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            return database.execute(sql).fetchall()


@pytest.fixture(scope="module")
def proxy(api):
    return school.Proxy(api["TELELAKE_API__BASE_URL"])


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, api, proxy):
    home = tmp_path_factory.mktemp("airflow")
    return Airflow(
        home,
        {
            "TELELAKE_API__BASE_URL": proxy.base_url,
            "TELELAKE_API__TOKEN": api["TELELAKE_API__TOKEN"],
            # A request that fails once fails the run, so that the retry is Airflow's.
            "TELELAKE_API__RETRIES": "0",
            "TELELAKE_STORE__URL": (home / "lake").as_uri(),
        },
    )


@pytest.fixture(scope="module")
def done(airflow, proxy, reference):
    """The states of the tasks after a run over all dates, in which the first report of two days failed once."""
    days = school.manifests(reference)
    keys = sorted(days)
    proxy.once |= {f"callId={next(iter(days[keys[at]]['calls']))}" for at in (2, 9)}
    return airflow.night(NIGHT, ALL)


def test_the_dag_has_no_error(airflow):
    assert "No data found" in airflow.cli("dags", "list-import-errors")


def test_each_day_of_the_plan_is_a_task_and_two_of_them_are_tried_again(done, airflow, proxy):
    assert airflow.query("SELECT DISTINCT pool FROM task_instance") == [("telelake_api",)]
    assert done["plan"] == [("success", 1)]
    tries = [2 if at in (2, 9) else 1 for at in range(school.DATES * school.SPACES)]
    assert done["day"] == [("success", count) for count in tries]
    assert len(proxy.failed) == 2 and not proxy.once
    assert done["finish"] == [("skipped", 1)], "nothing was left to do"


def test_the_lake_is_the_one_that_a_single_process_writes(done, airflow, reference):
    school.assert_same_lake(airflow.home / "lake", reference)


def test_the_result_of_a_day_is_its_xcom(done, airflow, reference):
    rows = airflow.query("SELECT value FROM xcom WHERE task_id = 'day'")
    results = [json.loads(value) for (value,) in rows]
    results = [json.loads(result) if isinstance(result, str) else result for result in results]
    assert len(results) == school.DATES * school.SPACES
    assert {(result["outcome"], result["days"]) for result in results} == {("done", 1)}
    calls = sum(len(day["calls"]) for day in school.manifests(reference).values())
    assert sum(result["calls"] for result in results) == calls
    assert all((airflow.home / "lake" / result["summary"]).is_file() for result in results)


def test_a_night_after_days_without_calls_ends_skipped(done, airflow):
    states = airflow.night("2025-03-20T03:00:00")
    assert states["plan"] == [("success", 1)]
    assert [state for state, _ in states["day"]] == ["skipped"], "there is no day to map over"
    assert states["finish"] == [("skipped", 1)]
    ((state,),) = airflow.query("SELECT state FROM dag_run ORDER BY id DESC LIMIT 1")
    assert state == "success"
    dates = {day["date"] for day in school.manifests(airflow.home / "lake").values()}
    assert "2025-03-19" in dates, "the lake notes that the date was looked at"


@pytest.mark.parametrize("env", [{"TELELAKE_API__BASE_URL": "no URL"}, {"TELELAKE_API__TOKEN": "refused"}])
def test_a_status_that_a_retry_does_not_help_fails_at_once(done, airflow, env):
    with pytest.raises(AssertionError):
        # The command fails because the DAG run does.
        airflow.night("2025-03-11T03:00:00", ALL, **env)
    rows = airflow.query(
        "SELECT task_id, state, try_number FROM task_instance WHERE run_id = "
        "(SELECT run_id FROM dag_run ORDER BY id DESC LIMIT 1) AND task_id = 'plan'"
    )
    assert rows == [("plan", "failed", 1)]


def test_airflow_keeps_no_token_and_nothing_personal(done, airflow, api, reference):
    files = [file for file in airflow.home.rglob("*") if file.is_file() and airflow.home / "lake" not in file.parents]
    school.assert_keeps_nothing_personal(files, api["TELELAKE_API__TOKEN"], reference, "days_built")

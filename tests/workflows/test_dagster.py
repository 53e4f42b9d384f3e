"""deploy/dagster in a real instance of Dagster: its daemon runs a backfill of all partitions. Two days fail once."""

import json
import os
import shutil
import subprocess
import sys
import time
import typing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import dagster_pipes
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

import school

DEPLOY = school.ROOT / "deploy/dagster"
BIN = Path(sys.executable).parent
DAY = dg.AssetKey(["telelake", "day"])
CHECKS = {"complete", "attendance_known"}


@pytest.fixture(scope="module")
def proxy(api):
    return school.Proxy(api["TELELAKE_API__BASE_URL"])


@pytest.fixture(scope="module")
def home(tmp_path_factory, api, proxy, reference):
    """The folder of the instance. The environment of this process becomes that of Dagster."""
    home = tmp_path_factory.mktemp("dagster")
    shutil.copy(DEPLOY / "dagster.yaml", home)
    spaces = {day["space_id"] for day in school.manifests(reference).values()}
    os.environ.update(
        school.environment(
            DAGSTER_HOME=str(home),
            LAKE_PROGRAM=school.PROGRAM,
            LAKE_SPACES=",".join(sorted(spaces)),
            LAKE_FIRST_DATE=str(school.FIRST),
            LAKE_RETRY_DELAY="1",
            TELELAKE_STORE__URL=(home / "lake").as_uri(),
            TELELAKE_API__BASE_URL=proxy.base_url,
            TELELAKE_API__TOKEN=api["TELELAKE_API__TOKEN"],
            # A request that fails once fails the run, so that the retry is Dagster's.
            TELELAKE_API__RETRIES="0",
        )
    )
    sys.path.insert(0, str(DEPLOY))
    return home


@pytest.fixture(scope="module")
def instance(home):
    limit = [BIN / "dagster", "instance", "concurrency", "set", "telelake_api", "2"]
    subprocess.run(limit, check=True, timeout=120)
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture(scope="module")
def daemon(instance, home):
    with open(home / "daemon.log", "wb") as log:
        command = [BIN / "dagster-daemon", "run", "--python-file", DEPLOY / "definitions.py"]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    yield daemon
    daemon.terminate()
    daemon.wait(timeout=60)


def backfill(instance, name: str, partitions: list[str]) -> BulkActionStatus:
    """Runs a backfill as Dagster's page starts it, and waits for its end."""
    import definitions

    graph = definitions.defs.resolve_asset_graph()
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=graph,
            partition_names=partitions,
            asset_selection=[DAY],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    deadline = time.monotonic() + 600
    while (status := instance.get_backfill(name).status) == BulkActionStatus.REQUESTED:
        assert time.monotonic() < deadline, [run.status for run in instance.get_runs()]
        time.sleep(1)
    if status != BulkActionStatus.COMPLETED_SUCCESS:
        print(Path(instance.root_directory, "daemon.log").read_text()[-5000:])
    return status


def events(instance, partition: str, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    """The events of a kind of all runs of a partition, in order."""
    filter = dg.RunsFilter(tags={"dagster/partition": partition})
    runs = reversed(instance.get_runs(filters=filter))
    found = [entry.dagster_event for run in runs for entry in instance.all_logs(run.run_id, of_type=kind)]
    return [event for event in found if event is not None]


def partitions(reference) -> list[str]:
    return sorted(school.manifests(reference))


@pytest.fixture(scope="module")
def flaky(proxy, reference) -> list[str]:
    """Two partitions, one in each space, whose first report fails once."""
    days = school.manifests(reference)
    chosen = [partitions(reference)[2], partitions(reference)[9]]
    assert len({days[key]["space_id"] for key in chosen}) == 2
    proxy.once |= {f"callId={next(iter(days[key]['calls']))}" for key in chosen}
    return chosen


@pytest.fixture(scope="module")
def done(instance, daemon, reference, flaky) -> BulkActionStatus:
    return backfill(instance, "all", partitions(reference))


def test_a_backfill_of_all_partitions_succeeds_although_two_days_fail_once(
    done, instance, proxy, flaky, reference
):
    assert done == BulkActionStatus.COMPLETED_SUCCESS
    assert len(proxy.failed) == 2 and not proxy.once
    assert instance.get_materialized_partitions(DAY) == set(partitions(reference))
    for partition in partitions(reference):
        restarts = events(instance, partition, dg.DagsterEventType.STEP_RESTARTED)
        assert len(restarts) == (1 if partition in flaky else 0), partition


def test_the_pool_bounds_the_days_that_are_exported_at_once(done, instance):
    moments = []
    for record in instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": "all"})):
        moments += [(record.start_time, 1), (record.end_time, -1)]
    running, most = 0, 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert len(moments) == 2 * school.DATES * school.SPACES
    assert most <= 2


def test_the_lake_is_the_one_that_a_single_process_writes(done, home, reference):
    school.assert_same_lake(home / "lake", reference)


def test_each_partition_has_its_counts_and_checks(done, instance, flaky, reference):
    for partition, day in school.manifests(reference).items():
        (materialization,) = events(instance, partition, dg.DagsterEventType.ASSET_MATERIALIZATION)
        told = {name: value.value for name, value in materialization.materialization.metadata.items()}
        assert told["calls"] == len(day["calls"])
        rows = {name: table["rows"] for name, table in day["built"]["tables"].items()}
        assert told["rows_by_table"] == rows
        assert told["dagster/partition_row_count"] == told["rows"] == sum(rows.values())
        assert Path(told["summary"].removeprefix("file://")).is_file()
        found = events(instance, partition, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        checks = [event.asset_check_evaluation_data for event in found]
        assert {check.check_name for check in checks} == CHECKS
        last = {check.check_name: check for check in checks}
        assert all(check.passed for check in last.values()), last
        if partition in flaky:
            first = next(check for check in checks if check.check_name == "complete")
            assert not first.passed and first.severity == dg.AssetCheckSeverity.ERROR
            assert first.metadata["reports_failed"].value == 1


def test_dagster_keeps_no_token_and_nothing_personal(done, home, api, reference):
    files = [file for file in home.rglob("*") if file.is_file() and home / "lake" not in file.parents]
    school.assert_keeps_nothing_personal(files, api["TELELAKE_API__TOKEN"], reference, "rows_by_table")


def run_once(instance, partition: str, monkeypatch, **env: str) -> dg.ExecuteInProcessResult:
    import definitions

    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return dg.materialize(
        [definitions.telelake_day],
        partition_key=partition,
        instance=instance,
        resources={"telelake": definitions.Telelake()},
        raise_on_error=False,
    )


def test_a_day_again_has_the_same_data_version(done, instance, reference, monkeypatch):
    partition = partitions(reference)[0]
    assert run_once(instance, partition, monkeypatch).success
    both = events(instance, partition, dg.DagsterEventType.ASSET_MATERIALIZATION)
    versions = [event.materialization.tags["dagster/data_version"] for event in both]
    assert len(versions) == 2 and versions[0] == versions[1]


def test_the_messages_are_those_of_the_python_package(home, reference, tmp_path):
    partition = partitions(reference)[0]
    context = {"asset_keys": ["a"], "partition_key": partition, "run_id": "r", "retry_number": 0, "extras": {}}
    env = {
        **os.environ,
        dagster_pipes.DAGSTER_PIPES_CONTEXT_ENV_VAR: dagster_pipes.encode_param({"data": context}),
        dagster_pipes.DAGSTER_PIPES_MESSAGES_ENV_VAR: dagster_pipes.encode_param({"stdio": "stdout"}),
        "TELELAKE_STORE__URL": tmp_path.as_uri(),
    }
    printed = school.telelake(env, "backfill", "--pipes").splitlines()
    messages = [json.loads(line) for line in printed if line.startswith("{")]
    version = dagster_pipes.PIPES_PROTOCOL_VERSION_FIELD
    assert {message[version] for message in messages} == {dagster_pipes.PIPES_PROTOCOL_VERSION}
    methods = [message["method"] for message in messages]
    assert (methods[0], methods[-1]) == ("opened", "closed")
    assert set(methods) <= set(typing.get_args(dagster_pipes.Method))
    # The Python package accepts what telelake reported: it checks keys, types and values.
    python = dagster_pipes.PipesContext(
        dagster_pipes.PipesMappingParamsLoader(env),
        dagster_pipes.PipesDefaultContextLoader(),
        dagster_pipes.PipesDefaultMessageWriter(),
    )
    reports = [message for message in messages if message["method"].startswith("report_asset_")]
    for message in reports:
        getattr(python, message["method"])(**message["params"])
    assert len(reports) == 1 + len(CHECKS)


@pytest.mark.parametrize(
    "status, env",
    [
        (2, {"TELELAKE_API__BASE_URL": "no URL"}),
        (4, {"TELELAKE_API__TOKEN": "refused"}),
    ],
)
def test_a_status_that_a_retry_does_not_help_fails_at_once(home, reference, monkeypatch, status, env):
    instance = dg.DagsterInstance.ephemeral()
    result = run_once(instance, partitions(reference)[0], monkeypatch, **env)
    kinds = [event.event_type for event in result.all_events]
    assert not result.success and dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert f"exit status {status}" in failed.step_failure_data.error_display_string


def test_the_schedule_asks_for_yesterday_and_for_what_is_due(done, instance, home, reference, monkeypatch):
    import definitions

    def night(date) -> set[str]:
        at = datetime(date.year, date.month, date.day, 3, tzinfo=timezone.utc) + timedelta(days=1)
        repository = definitions.defs.get_repository_def()
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at, repository_def=repository
        )
        return {str(request.partition_key) for request in definitions.nightly.evaluate_tick(context).run_requests}

    spaces = os.environ["LAKE_SPACES"].split(",")
    yesterday = {f"{school.LAST}|{space}" for space in spaces}
    assert night(school.LAST) == yesterday, "all is in the lake"
    monkeypatch.setenv("TELELAKE_STORE__URL", (home / "empty").as_uri())
    lookback = {key for key in partitions(reference) if key >= str(school.LAST - timedelta(days=3))}
    assert night(school.LAST) == lookback and len(lookback) == 8

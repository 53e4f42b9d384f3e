"""telelake in Dagster: one asset with a partition for each date and space, exported by `telelake backfill --pipes`.

The variables below come from the environment of Dagster. The token and the store are in telelake's own configuration
(TELELAKE_CONFIG, or the variables TELELAKE_<SECTION>__<KEY>), so that they are neither in this file nor on a command line.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg

# The program: its path, or a name on $PATH.
PROGRAM = os.environ.get("LAKE_PROGRAM", "telelake")
# The ids of the spaces, with commas between them: `telelake check` prints them.
SPACES = os.environ["LAKE_SPACES"].split(",")
# The first date of the lake.
FIRST_DATE = os.environ.get("LAKE_FIRST_DATE", "2026-09-01")
# The `timezone` of telelake's configuration: its midnight parts the days.
TIMEZONE = os.environ.get("LAKE_TIMEZONE", "UTC")
# The dates before yesterday that a night looks at again, because reports and recordings may be late.
LOOKBACK_DAYS = int(os.environ.get("LAKE_LOOKBACK_DAYS", "3"))
# The pause before the first retry, in seconds. It doubles with each retry.
RETRY_DELAY = float(os.environ.get("LAKE_RETRY_DELAY", "300"))

# Dagster sorts the dimensions of a key by name, so that the key of a partition is DATE|SPACE. telelake reads it so.
DAYS = dg.MultiPartitionsDefinition(
    {
        "date": dg.DailyPartitionsDefinition(start_date=FIRST_DATE, timezone=TIMEZONE),
        "space": dg.StaticPartitionsDefinition(SPACES),
    }
)
DAY = dg.AssetKey(["telelake", "day"])

# Exit statuses of telelake that a retry does not help: 2, wrong usage or configuration; 4, the token is refused, or the API or
# the store is out of reach. After all others, 3 (done in part) above all, the retry policy counts.
HOPELESS = {2, 4}


class Telelake(dg.PipesSubprocessClient):
    """Starts telelake and returns its exit status with what it reported.

    PipesSubprocessClient raises an error for every status but 0, and drops what was reported. This error is Dagster's own, to
    which Dagster applies no retry policy.
    """

    def run(self, *, context: dg.AssetExecutionContext, command: Sequence[str]) -> tuple[int, dg.PipesSession]:
        with dg.open_pipes_session(
            context=context, context_injector=self.context_injector, message_reader=self.message_reader
        ) as session:
            process = subprocess.Popen(command, env={**os.environ, **session.get_bootstrap_env_vars()})
            try:
                status = process.wait()
            except dg.DagsterExecutionInterruptedError:
                # Somebody terminated the run. telelake ends cleanly within 10 s, and the next run goes on.
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=self.termination_timeout_seconds)
                raise
        return status, session


@dg.asset(
    key=DAY,
    description="What happened in a space on a date: Parquet tables and recordings in the lake.",
    group_name="telelake",
    partitions_def=DAYS,
    # The pool bounds how many days are exported at once: its limit times `api.requests_per_second` is what the API gets.
    pool="telelake_api",
    # telelake retries single requests by itself. This is for a day that was done in part.
    retry_policy=dg.RetryPolicy(max_retries=3, delay=RETRY_DELAY, backoff=dg.Backoff.EXPONENTIAL),
    # telelake reports both. `complete` is a warning as long as the API does not have everything yet.
    check_specs=[dg.AssetCheckSpec("complete", asset=DAY), dg.AssetCheckSpec("attendance_known", asset=DAY)],
)
def telelake_day(
    context: dg.AssetExecutionContext, telelake: Telelake
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    # The date and the space are those of the partition. A day with nothing new is materialized with the same data version.
    # There is no --skip-exit-code, because Dagster takes an asset without a result for failed if Pipes is used.
    status, session = telelake.run(context=context, command=[PROGRAM, "--quiet", "backfill", "--pipes"])
    # Also of a day that was done in part. Without `implicit_materializations=False` it would count as materialized.
    yield from session.get_results(implicit_materializations=False)
    if status != 0:
        raise dg.Failure(
            description=f"telelake ended with exit status {status}: the events above and its log say why",
            metadata={"exit_status": status},
            allow_retries=status not in HOPELESS,
        )


day_job = dg.define_asset_job("telelake_day", selection=dg.AssetSelection.assets(DAY))


@dg.schedule(job=day_job, cron_schedule="0 3 * * *", execution_timezone=TIMEZONE)
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Yesterday in each space, and of the dates before it the days that have something to do."""
    night = context.scheduled_execution_time.astimezone(ZoneInfo(TIMEZONE)).date()
    yesterday = night - timedelta(days=1)
    due = {f"{yesterday}|{space}" for space in SPACES}
    due |= {day["key"] for day in plan(yesterday - timedelta(days=LOOKBACK_DAYS), yesterday)}
    known = set(DAYS.get_partition_keys(current_time=context.scheduled_execution_time))
    for key in sorted(due & known):
        # The run key keeps a day from being started twice in a night.
        yield dg.RunRequest(run_key=f"{night}/{key}", partition_key=key)
    for key in sorted(due - known):
        context.log.warning(f"{key} has something to do, but is no partition: see LAKE_SPACES and LAKE_FIRST_DATE")


def plan(first, last) -> list[dict]:
    """The days that have something to do. Writes nothing, and asks the API only for lists."""
    command = [PROGRAM, "--quiet", "backfill", "--dry-run", "--json", "--from", str(first), "--to", str(last)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    # Status 3: some rooms could not be listed. What is known is worth a run; the next night asks for the rest.
    if process.returncode not in (0, 3):
        raise RuntimeError(f"telelake could not plan the night: exit status {process.returncode}, its log says why")
    return json.loads(process.stdout)


defs = dg.Definitions(
    assets=[telelake_day],
    jobs=[day_job],
    schedules=[nightly],
    resources={"telelake": Telelake()},
    # A run has one step, which waits for telelake: a process of its own for the step would only cost memory.
    executor=dg.in_process_executor,
)

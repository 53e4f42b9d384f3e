"""telelake in Airflow: a task plans the night, a mapped task exports each day of the plan, a last one looks over all of it.

Airflow's workers have telelake, its configuration (TELELAKE_CONFIG) and the token's file. No token passes through Airflow: the
tasks hand over dates and ids of spaces alone.
"""

import json
import os
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

# The program: its path, or a name on the workers' $PATH.
PROGRAM = os.environ.get("LAKE_PROGRAM", "telelake")
# The `timezone` of telelake's configuration: its midnight parts the days.
TIMEZONE = os.environ.get("LAKE_TIMEZONE", "UTC")
# The dates before yesterday that a night looks at again, because reports and recordings may be late.
LOOKBACK_DAYS = int(os.environ.get("LAKE_LOOKBACK_DAYS", "3"))
# The pause before the first retry, in seconds. It grows with each retry.
RETRY_DELAY = float(os.environ.get("LAKE_RETRY_DELAY", "300"))
# The pool bounds how many days are exported at once: `airflow pools set telelake_api 2 "requests to teleboss"`.
POOL = "telelake_api"
# The requests per second of one task. The API gets as many times this as the pool has slots. 0: no limit.
REQUESTS_PER_SECOND = os.environ.get("LAKE_REQUESTS_PER_SECOND", "5")


class TelelakeOperator(BashOperator):
    """Runs a command of telelake. Its exit status decides: 0 success, 99 skipped, 2 and 4 failed at once, all others a retry.

    The command gets dates and ids by variables of its environment, so that the shell never reads them as code. The last line of
    output becomes the XCom, as an object.
    """

    def __init__(self, *, command: str, env: dict[str, str] | None = None, **kwargs) -> None:
        super().__init__(
            bash_command=f"{PROGRAM} --quiet --log-format json {command}",
            env=env,
            append_env=True,
            # The exit status of `--skip-exit-code` below.
            skip_on_exit_code=99,
            output_processor=json.loads,
            **kwargs,
        )

    def get_env(self, context) -> dict[str, str]:
        return {**super().get_env(context), "TELELAKE_API__REQUESTS_PER_SECOND": REQUESTS_PER_SECOND}

    def execute(self, context):
        try:
            return super().execute(context)
        except AirflowException as error:
            process = self.subprocess_hook.sub_process
            # Wrong usage or configuration; token refused, or API or store out of reach. The next try would end alike.
            if process is not None and process.returncode in (2, 4):
                raise AirflowFailException(str(error)) from error
            raise


def days_before(dag_run, days: int) -> str:
    """The date so many days before the one on which the DAG run was due, in telelake's time zone."""
    at = dag_run.logical_date or dag_run.run_after
    return str(at.astimezone(ZoneInfo(TIMEZONE)).date() - timedelta(days=days))


def environment(day: dict) -> dict[str, str]:
    """The environment of the task for a day of the plan."""
    return {"LAKE_DATE": day["date"], "LAKE_SPACE": day["space_id"]}


with DAG(
    dag_id="telelake",
    description="Exports lessons into the lake: a task for each date and space that has something to do",
    # The trigger timetable: the logical date is the time of the run, whatever `create_cron_data_intervals` says.
    schedule=CronTriggerTimetable("0 3 * * *", timezone=TIMEZONE),
    start_date=datetime(2025, 1, 1, tzinfo=ZoneInfo(TIMEZONE)),
    # A night looks back by itself. For longer ranges, trigger the DAG with `from` and `to`.
    catchup=False,
    # Two nights at once would lose nothing, but ask the API twice.
    max_active_runs=1,
    default_args={
        "pool": POOL,
        # telelake retries single requests by itself. This is for a day that was done in part (status 3).
        "retries": 3,
        "retry_delay": timedelta(seconds=RETRY_DELAY),
        "retry_exponential_backoff": True,
    },
    params={
        "from": Param(None, type=["null", "string"], format="date", description="The first date instead of the last days"),
        "to": Param(None, type=["null", "string"], format="date", description="The last date instead of yesterday"),
    },
    user_defined_macros={"days_before": days_before},
    tags=["telelake"],
) as dag:
    dates = {
        "LAKE_FROM": f"{{{{ params['from'] or days_before(dag_run, {LOOKBACK_DAYS + 1}) }}}}",
        "LAKE_TO": "{{ params['to'] or days_before(dag_run, 1) }}",
    }

    # A list of the days that have something to do. It writes nothing and asks the API only for lists. Some rooms that could not
    # be listed are status 3, so that the plan is made again.
    plan = TelelakeOperator(
        task_id="plan",
        command='backfill --dry-run --json --from "$LAKE_FROM" --to "$LAKE_TO"',
        env=dates,
    )

    # A task for each of these days; none, and skipped, if the list is empty.
    days = TelelakeOperator.partial(
        task_id="day",
        command='backfill --from "$LAKE_DATE" --to "$LAKE_DATE" --space "$LAKE_SPACE" --skip-exit-code 99',
        map_index_template="{{ task.env['LAKE_DATE'] }} {{ task.env['LAKE_SPACE'] }}",
    ).expand(env=plan.output.map(environment))

    # Once more over all dates in one process: it notes the days without calls, which are in no plan, and takes what has come
    # meanwhile. A quiet night ends here as skipped. It runs also if no day had anything to do.
    finish = TelelakeOperator(
        task_id="finish",
        command='backfill --from "$LAKE_FROM" --to "$LAKE_TO" --skip-exit-code 99',
        env=dates,
        trigger_rule="none_failed",
    )

    days >> finish

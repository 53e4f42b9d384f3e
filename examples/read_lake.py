"""Reads a lake: participants joined with their lessons, by DuckDB; and one table by pyarrow.

    python examples/read_lake.py demo-lake
    python examples/read_lake.py demo-lake --sample-lesson-data > lessons.jsonl

The second form prints lesson data for the meetings of the lake, as an LMS would send it, for `telelake meta import`.
"""

import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pyarrow.compute as pc
import pyarrow.dataset as ds

# One row for each participant of a call. A user has one row of attendance for each meeting, on the day of the meeting's first call.
PARTICIPANTS = """
SELECT p.date, p.room_name, coalesce(p.lesson_name, a.lesson_name, '-') AS lesson, p.name, p.role,
       round(p.duration_s / 60) AS minutes, a.attended, round(a.attended_share, 2) AS share
FROM read_parquet($participants, hive_partitioning = true) AS p
LEFT JOIN read_parquet($attendance, hive_partitioning = true) AS a
  USING (external_meeting_id, external_user_id)
ORDER BY p.date, p.room_name, p.name
LIMIT 12
"""

MEETINGS = """
SELECT external_user_id, external_meeting_id, any_value(name), any_value(role), epoch(min(call_started_at))
FROM read_parquet($participants, hive_partitioning = true)
WHERE external_user_id IS NOT NULL AND external_meeting_id IS NOT NULL
GROUP BY ALL
ORDER BY external_meeting_id, external_user_id
"""


def files(lake: Path, table: str) -> str:
    """The Parquet files of a table."""
    return str(lake / table / "date=*" / "*.parquet")


def sample_lesson_data(lake: Path) -> None:
    """Prints one payload for each user and meeting, as JSON Lines."""
    rows = duckdb.execute(MEETINGS, {"participants": files(lake, "participants")}).fetchall()
    for user, meeting, name, role, started_at in rows:
        meta = {
            "user_fullname": name,
            "user_role": "teacher" if role == "moderator" else "student",
            "lesson_name": f"Lesson {meeting}",
            "lesson_scheduled_start_dt": datetime.fromtimestamp(started_at, timezone.utc).isoformat(),
            "lesson_course": {"lesson_course_id": "c1", "lesson_course_name": "English A2"},
            "student_group": {"student_group_id": "g1", "student_group_name": "Group 1"},
        }
        payload = {"externalUserId": user, "externalMeetingId": meeting, "meta": meta}
        print(json.dumps(payload, ensure_ascii=False))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path, help="the folder of a lake, such as the demo's demo-lake")
    parser.add_argument("--sample-lesson-data", action="store_true", help="print lesson data for its meetings")
    args = parser.parse_args()
    if not (args.lake / "participants").is_dir():
        print(f"{args.lake} has no participants: is it a lake?", file=sys.stderr)
        return 1
    if args.sample_lesson_data:
        sample_lesson_data(args.lake)
        return 0

    tables = {"participants": files(args.lake, "participants"), "attendance": files(args.lake, "lesson_attendance")}
    print("Participants and their lessons (DuckDB):")
    duckdb.sql(PARTICIPANTS, params=tables).show()

    # pyarrow reads only the columns that are asked for; `date` comes from the folders.
    paths = sorted(str(path) for path in args.lake.glob("calls/date=*/*.parquet"))
    calls = ds.dataset(paths, format="parquet", partitioning="hive", partition_base_dir=str(args.lake / "calls"))
    table = calls.to_table(columns=["date", "room_name", "duration_s"])
    hours = (pc.sum(table["duration_s"]).as_py() or 0) / 3600
    print(f"Calls (pyarrow): {table.num_rows} calls, {hours:.1f} hours")
    return 0


if __name__ == "__main__":
    sys.exit(main())

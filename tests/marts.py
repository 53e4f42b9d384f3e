"""Runs scripts of `telelake sql` in their engine and prints, for each, its views as JSON: the rows of a mart and of a
view `question_…`, the number of rows of another view.

    .tools/venv/bin/python tests/marts.py duckdb lake.sql [--load httpfs]
    .tools/venv/bin/python tests/marts.py clickhouse lake.sql
    .tools/venv/bin/python tests/marts.py spark lake.sql

Instants are ISO 8601 in UTC, dates are YYYY-MM-DD, shares are rounded to nine digits.
"""

import argparse
import json
import re
import sys
import tempfile
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

MARTS = ["lessons", "attendance", "attendance_by_level", "student_course", "teachers"]


def plain(value):
    """A value that JSON can hold, the same from every engine."""
    match value:
        case datetime():
            zoned = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
            return zoned.astimezone(timezone.utc).isoformat()
        case date():
            return value.isoformat()
        case Decimal():
            return plain(float(value))
        case float():
            return None if value != value else round(value, 9)
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in sorted(value.items())}
    return value


def names_of(script: str) -> list[str]:
    return re.findall(r'^CREATE OR REPLACE (?:TEMPORARY )?VIEW ["`]?(\w+)["`]?', script, re.MULTILINE)


def statements(script: str) -> list[str]:
    """The statements of a script: text up to a semicolon that is neither in a literal nor in a comment."""
    token = re.compile(r"--[^\n]*|'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|`[^`]*`|;|[^;'\"`-]+|-", re.DOTALL)
    found, current = [], ""
    for part in token.findall(script):
        if part == ";":
            found.append(current)
            current = ""
        elif not part.startswith("--"):
            current += part
    return [statement for statement in map(str.strip, [*found, current]) if statement]


def duckdb_engine(load: str | None):
    import duckdb

    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    if load:
        import duckdb_extension_httpfs

        folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions" / f"v{duckdb.__version__}"
        db.execute(f"LOAD '{folder / load}.duckdb_extension'")

    def rows(name: str) -> list[dict]:
        return db.execute(f'SELECT * FROM "{name}"').to_arrow_table().to_pylist(maps_as_pydicts="strict")

    def count(name: str) -> int:
        return db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]

    return db.execute, rows, count


def clickhouse_engine(_load: str | None):
    from chdb import session

    db = session.Session(tempfile.mkdtemp())
    db.query("CREATE DATABASE IF NOT EXISTS lake")
    db.query("USE lake")

    def run(script: str) -> None:
        for statement in statements(script):
            db.query(statement)

    def lines(query: str) -> list[dict]:
        settings = "output_format_json_quote_64bit_integers = 0, date_time_output_format = 'iso'"
        text = db.query(f"{query} SETTINGS {settings}", "JSONEachRow").bytes().decode()
        return [{key: instant(value) for key, value in json.loads(line).items()} for line in text.splitlines()]

    return run, lambda name: lines(f"SELECT * FROM `{name}`"), lambda name: lines(f"SELECT count(*) AS n FROM `{name}`")[0]["n"]


def instant(value):
    """Parses an ISO instant and leaves every other value."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value):
        return datetime.fromisoformat(value)
    return value


def spark_engine(_load: str | None):
    from engines import spark

    db = spark()

    def run(script: str) -> None:
        for statement in statements(script):
            db.sql(statement)

    def rows(name: str) -> list[dict]:
        # Instants as text, because Python's Spark gives them in the machine's zone.
        frame = db.table(name)
        columns = [
            f"date_format(`{column}`, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\") AS `{column}`" if kind == "timestamp" else f"`{column}`"
            for column, kind in frame.dtypes
        ]
        found = frame.selectExpr(*columns).collect()
        return [{key: instant(value) for key, value in row.asDict(recursive=True).items()} for row in found]

    return run, rows, lambda name: db.table(name).count()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=["duckdb", "clickhouse", "spark"])
    parser.add_argument("scripts", type=Path, nargs="+")
    parser.add_argument("--load", metavar="EXTENSION", help="an extension of DuckDB to load first")
    args = parser.parse_args()
    engines = {"duckdb": duckdb_engine, "clickhouse": clickhouse_engine, "spark": spark_engine}
    run, rows, count = engines[args.engine](args.load)
    shown = []
    for path in args.scripts:
        script = path.read_text(encoding="utf-8")
        run(script)
        whole = {name for name in names_of(script) if name in MARTS or name.startswith("question_")}
        shown.append({name: plain(rows(name)) if name in whole else count(name) for name in names_of(script)})
    print(json.dumps(shown, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads all tables of a lake from their root paths with DuckDB, pyarrow, Polars, pandas, Spark and ClickHouse, and compares the results.

    .tools/venv/bin/python tests/readers.py --lake file:///srv/lake --timezone Europe/Moscow
    .tools/venv/bin/python tests/readers.py --lake s3://bucket/prefix --s3-endpoint http://127.0.0.1:8333

Prints a JSON object with the result of each reader for each table. Exit status 1, and a line for each fault on stderr, if
  - two readers differ in rows, columns, types, non-null values, distinct keys or dates (ClickHouse has no null lists and maps,
    pandas no types of its own; Spark reads folders only, because it has no S3 file system of its own);
  - a key is null or not unique;
  - with --timezone: a row is not on the date of its call's start in that zone;
  - with --expect: a table does not have the number of rows that FILE says;
  - a statement of the data dictionary does not hold (tests/statements.sql).
"""

import argparse
import glob
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import duckdb
import duckdb_extension_httpfs
import engines
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from engines import TableView
from pyarrow import fs

# The tables and their keys. Messages, reactions and votes have no key, because the platform's ids are not unique.
KEYS = {
    "calls": ["space_id", "call_id"],
    "participants": ["call_id", "participant_id"],
    "messages": [],
    "reactions": [],
    "poll_votes": [],
    "polls": ["call_id", "poll_id"],
    "report_rows": [],
    "recordings": ["space_id", "record_id"],
    "user_meta": ["external_user_id", "external_meeting_id"],
    "hierarchy": [],
    "lesson_attendance": ["external_meeting_id", "external_user_id"],
    "coverage": ["space_id", "room_id", "date"],
    "days": ["space_id", "date"],
    "rooms": ["room_id"],
    "spaces": ["space_id"],
}
# Tables with a file for each space or a single file, instead of a file for each day.
UNDATED = {"days", "rooms", "spaces"}
OF_A_CALL = {
    "calls": "started_at",
    "participants": "call_started_at",
    "messages": "call_started_at",
    "reactions": "call_started_at",
    "poll_votes": "call_started_at",
    "polls": "call_started_at",
    "report_rows": "call_started_at",
}


@dataclass
class Lake:
    """The address of a lake, as each reader needs it."""

    root: str  # a folder's path, or bucket/prefix
    s3: dict[str, str | bool] | None

    @staticmethod
    def of(args: argparse.Namespace) -> "Lake":
        url = urlsplit(args.lake)
        if url.scheme == "file" and url.netloc in ("", "localhost") and url.path.startswith("/"):
            return Lake(unquote(url.path).rstrip("/"), None)
        if url.scheme != "s3" or not url.netloc:
            sys.exit(f"--lake {args.lake}: must be file:///folder or s3://bucket/prefix")
        endpoint = urlsplit(args.s3_endpoint or f"https://s3.{args.s3_region}.amazonaws.com")
        if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
            sys.exit(f"--s3-endpoint {args.s3_endpoint}: must be http://host:port or https://host:port")
        secrets = {}
        for option, variable in (("key", args.access_key_env), ("secret", args.secret_key_env)):
            secrets[option] = os.environ.get(variable) or sys.exit(f"${variable} is not set")
        return Lake(
            f"{url.netloc}{url.path}".rstrip("/"),
            {
                **secrets,
                "host": endpoint.netloc,
                "url": f"{endpoint.scheme}://{endpoint.netloc}",
                "tls": endpoint.scheme == "https",
                "region": args.s3_region,
            },
        )

    def table(self, table: str) -> str:
        """The root path of a table. Nothing but its Parquet files lies below."""
        return f"s3://{self.root}/{table}/" if self.s3 else f"{self.root}/{table}"

    def pattern(self, table: str) -> str:
        """All files below the root path of a table, for readers that take patterns."""
        return f"s3://{self.root}/{table}/**" if self.s3 else f"{glob.escape(self.root)}/{table}/**"

    def files(self) -> fs.FileSystem:
        """The lake for pyarrow."""
        if not self.s3:
            return fs.LocalFileSystem()
        return fs.S3FileSystem(
            access_key=self.s3["key"],
            secret_key=self.s3["secret"],
            endpoint_override=self.s3["host"],
            scheme="https" if self.s3["tls"] else "http",
            region=self.s3["region"],
            force_virtual_addressing=False,
        )


def connected(lake: Lake) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    if lake.s3:
        version = duckdb.__version__
        folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions" / f"v{version}"
        db.execute(f"LOAD '{folder / 'httpfs.duckdb_extension'}'")
        quoted = {name: str(value).replace("'", "''") for name, value in lake.s3.items()}
        db.execute(
            "CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', REGION '{region}', "
            "URL_STYLE 'path', USE_SSL {tls})".format(**quoted)
        )
    return db


def by_duckdb(lake: Lake) -> dict[str, TableView]:
    db = connected(lake)
    return {table: see_by_duckdb(db, lake, table) for table in KEYS}


def answers(lake: Lake, path: str) -> list[list[dict]]:
    """The rows of each query in a document about the demo's lake, with all values as text."""
    db = connected(lake)
    root = f"s3://{lake.root}" if lake.s3 else glob.escape(lake.root)
    blocks = re.findall(r"```sql\n(.*?)```", Path(path).read_text(encoding="utf-8"), re.DOTALL)
    found = []
    for query in filter(str.strip, ";".join(blocks).split(";")):
        # The document's first date is replaced by one before all data.
        query = query.replace("demo-lake", root.replace("'", "''")).replace("'2026-11-01'", "'1970-01-01'")
        cursor = db.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({query})")
        names = [column[0] for column in cursor.description]
        found.append([dict(zip(names, row)) for row in cursor.fetchall()])
    return found


def see_by_duckdb(db: duckdb.DuckDBPyConnection, lake: Lake, table: str) -> TableView:
    pattern = f"{lake.pattern(table)}/*.parquet"
    if not db.execute("SELECT count(*) FROM glob(?)", [pattern]).fetchone()[0]:
        return TableView.nothing(KEYS[table])
    source = f"read_parquet('{pattern.replace(chr(39), chr(39) * 2)}', hive_partitioning = true)"
    relation = db.sql(f"SELECT * FROM {source}")
    columns = {name: duckdb_type(kind) for name, kind in zip(relation.columns, relation.types)}
    counts = ", ".join(f'count("{name}")' for name in columns)
    rows, *non_null = db.execute(f"SELECT count(*), {counts} FROM {source}").fetchone()
    dates, distinct, nulls = (None, None), None, None
    if "date" in columns:
        dates = db.execute(f"SELECT min(date)::VARCHAR, max(date)::VARCHAR FROM {source}").fetchone()
    if KEYS[table]:
        key = ", ".join(KEYS[table])
        any_null = " OR ".join(f"{column} IS NULL" for column in KEYS[table])
        distinct = db.execute(f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM {source})").fetchone()[0]
        nulls = db.execute(f"SELECT count(*) FROM {source} WHERE {any_null}").fetchone()[0]
    return TableView(rows, distinct, nulls, *dates, columns, dict(zip(columns, non_null)))


def duckdb_type(kind) -> str:
    names = {
        "varchar": "string",
        "bigint": "int64",
        "double": "double",
        "boolean": "bool",
        "date": "date",
        "timestamp with time zone": "timestamp[us, UTC]",
    }
    match kind.id:
        case "list":
            return f"list<{duckdb_type(dict(kind.children)['child'])}>"
        case "struct":
            fields = (f"{name}: {duckdb_type(child)}" for name, child in kind.children)
            return f"struct<{', '.join(fields)}>"
        case "map":
            children = dict(kind.children)
            return f"map<{duckdb_type(children['key'])}, {duckdb_type(children['value'])}>"
        case name:
            return names.get(name, str(kind))


def by_pyarrow(lake: Lake) -> dict[str, TableView]:
    return {table: see_by_pyarrow(lake.files(), lake, table) for table in KEYS}


def dates_of(table: str) -> ds.Partitioning | None:
    """The partitions of a table for pyarrow and pandas, which take them for texts if nobody says that they are dates."""
    return None if table in UNDATED else ds.partitioning(pa.schema([("date", pa.date32())]), flavor="hive")


def see_by_pyarrow(files: fs.FileSystem, lake: Lake, table: str) -> TableView:
    root = f"{lake.root}/{table}"
    if files.get_file_info(root).type == fs.FileType.NotFound:
        return TableView.nothing(KEYS[table])
    data = ds.dataset(root, filesystem=files, format="parquet", partitioning=dates_of(table)).to_table()
    columns = {field.name: arrow_type(field.type) for field in data.schema}
    non_null = {name: data.num_rows - data[name].null_count for name in columns}
    dates, distinct, nulls = (None, None), None, None
    if "date" in columns:
        present = sorted(str(date) for date in data["date"].unique().to_pylist())
        dates = (present[0], present[-1]) if present else dates
    if KEYS[table]:
        keys = data.select(KEYS[table])
        distinct = keys.group_by(KEYS[table]).aggregate([]).num_rows
        nulls = data.num_rows - keys.drop_null().num_rows
    return TableView(data.num_rows, distinct, nulls, *dates, columns, non_null)


def arrow_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{arrow_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {arrow_type(field.type)}' for field in kind)}>"
    if pa.types.is_map(kind):
        return f"map<{arrow_type(kind.key_type)}, {arrow_type(kind.item_type)}>"
    names = {"timestamp[us, tz=UTC]": "timestamp[us, UTC]", "date32[day]": "date"}
    return names.get(str(kind), str(kind))


def polars_options(lake: Lake) -> dict[str, str] | None:
    return lake.s3 and {
        "aws_access_key_id": lake.s3["key"],
        "aws_secret_access_key": lake.s3["secret"],
        "aws_endpoint_url": lake.s3["url"],
        "aws_region": lake.s3["region"],
        "aws_allow_http": str(not lake.s3["tls"]).lower(),
        "aws_virtual_hosted_style_request": "false",
    }


def scan_by_polars(lake: Lake, table: str) -> pl.LazyFrame:
    return pl.scan_parquet(
        lake.table(table),
        hive_partitioning=table not in UNDATED,
        try_parse_hive_dates=True,
        storage_options=polars_options(lake),
    )


def see_by_polars(lake: Lake, table: str) -> TableView:
    frame = scan_by_polars(lake, table).collect()
    columns = {name: polars_type(kind) for name, kind in frame.schema.items()}
    non_null = {name: frame.height - frame[name].null_count() for name in columns}
    dates, distinct, nulls = (None, None), None, None
    if "date" in columns and frame.height:
        dates = (str(frame["date"].min()), str(frame["date"].max()))
    if KEYS[table]:
        keys = frame.select(KEYS[table])
        distinct, nulls = keys.n_unique(), frame.height - keys.drop_nulls().height
    return TableView(frame.height, distinct, nulls, *dates, columns, non_null)


def polars_type(kind: pl.DataType) -> str:
    match kind:
        case pl.Map():
            return f"map<{polars_type(kind.key)}, {polars_type(kind.value)}>"
        case pl.List():
            return f"list<{polars_type(kind.inner)}>"
        case pl.Struct():
            fields = (f"{field.name}: {polars_type(field.dtype)}" for field in kind.fields)
            return f"struct<{', '.join(fields)}>"
        case pl.Datetime():
            return f"timestamp[{kind.time_unit}, {kind.time_zone}]"
    names = {pl.String: "string", pl.Int64: "int64", pl.Float64: "double", pl.Boolean: "bool", pl.Date: "date"}
    return names.get(type(kind), str(kind))


def differences(table: str, seen: dict[str, TableView]) -> list[str]:
    """The differences between readers, and the faults of the key."""
    faults = []
    first, *others = seen
    for other in others:
        for what, ours in asdict(seen[first]).items():
            theirs = asdict(seen[other])[what]
            if theirs is None:
                # The reader can't say it.
                continue
            if isinstance(ours, dict):
                if what == "non_null":
                    ours = {name: count for name, count in ours.items() if name in theirs}
                if list(ours) != list(theirs):
                    faults.append(f"{table}: {what}: {first} has {list(ours)}, {other} {list(theirs)}")
                    continue
                faults += [
                    f"{table}.{name}: {what}: {first} says {ours[name]}, {other} {theirs[name]}"
                    for name in ours
                    if ours[name] != theirs[name]
                ]
            elif ours != theirs:
                faults.append(f"{table}: {what}: {first} says {ours}, {other} {theirs}")
    for reader, view in seen.items():
        if view.null_keys:
            faults.append(f"{table}: {reader}: {view.null_keys} rows have a null in their key {KEYS[table]}")
        if view.distinct_keys is not None and view.distinct_keys != view.rows:
            faults.append(
                f"{table}: {reader}: the key {KEYS[table]} is not unique: "
                f"{view.rows} rows, {view.distinct_keys} distinct keys"
            )
    return faults


def misdated(lake: Lake, present: set[str], zone: str) -> list[str]:
    """The rows that are not on the date of their call's start, and the records that are not on the date of their call."""

    def date_of(column: str) -> pl.Expr:
        return pl.col(column).dt.convert_time_zone(zone).dt.date()

    def fault(table: str, rows: pl.LazyFrame, of: str) -> list[str]:
        wrong = rows.collect()
        if wrong.is_empty():
            return []
        example = ", ".join(f"{name} {value}" for name, value in wrong.row(0, named=True).items())
        return [f"{table}: {wrong.height} rows are not on the date of {of} in {zone}; an example: {example}"]

    faults = []
    for table in sorted(present & OF_A_CALL.keys()):
        start = OF_A_CALL[table]
        wrong = scan_by_polars(lake, table).filter(date_of(start) != pl.col("date"))
        faults += fault(table, wrong.select("call_id", start, "date"), start)
    if "recordings" in present:
        records = scan_by_polars(lake, "recordings").select("space_id", "record_id", "call_id", "started_at", "date")
        calls = pl.LazyFrame(schema={"space_id": pl.String, "call_id": pl.String, "call_date": pl.Date})
        if "calls" in present:
            calls = scan_by_polars(lake, "calls").select("space_id", "call_id", pl.col("date").alias("call_date"))
        # A record is on the date of its call, or on that of its own start if the call is not in the lake.
        dated = records.join(calls, on=["space_id", "call_id"], how="left")
        wrong = dated.filter(pl.coalesce("call_date", date_of("started_at")) != pl.col("date"))
        faults += fault("recordings", wrong.drop("space_id"), "the call, or of started_at where there is none,")
    return faults


def see_by_pandas(lake: Lake, table: str) -> TableView:
    return engines.see_by_pandas(f"{lake.root}/{table}", lake.files(), dates_of(table), KEYS[table])


def see_by_clickhouse(lake: Lake, table: str) -> TableView:
    quoted = f"{lake.root}/{table}/**".replace("'", "\\'")
    source = f"file('{quoted}', 'Parquet')"
    if lake.s3:
        address = f"{lake.s3['url']}/{quote(lake.root)}/{table}/**"
        source = f"s3('{address}', '{lake.s3['key']}', '{lake.s3['secret']}', 'Parquet')"
    return engines.see_by_clickhouse(source, KEYS[table])


def untrue(lake: Lake, present: set[str]) -> list[str]:
    """The statements of the data dictionary that do not hold in the lake. Each counts the rows that contradict it."""
    db = connected(lake)
    for table in present:
        pattern = f"{lake.pattern(table)}/*.parquet".replace("'", "''")
        db.execute(f"CREATE VIEW {table} AS FROM read_parquet('{pattern}', hive_partitioning = true)")
    statements = Path(__file__).with_name("statements.sql").read_text(encoding="utf-8")
    faults = []
    for statement in filter(str.strip, statements.split(";")):
        said, query = re.fullmatch(r"\s*-- (.*?)\n(.*)", statement, re.DOTALL).groups()
        if not set(re.findall(r"\b(?:FROM|JOIN) (\w+)", query)) & KEYS.keys() <= present:
            continue
        wrong = db.execute(query).fetchone()[0]
        if wrong:
            faults.append(f"not true: {said}: {wrong} rows")
    return faults


def unexpected(path: str, seen: dict[str, dict[str, TableView]]) -> list[str]:
    """The tables whose number of rows is not the expected one."""
    expected = json.loads(Path(path).read_text(encoding="utf-8"))
    unknown = expected.keys() - KEYS.keys()
    faults = [f"{path}: there is no table {table}" for table in sorted(unknown)]
    for table in sorted(expected.keys() & KEYS.keys()):
        faults += [
            f"{table}: {expected[table]} rows are expected, {reader} sees {view.rows}"
            for reader, view in seen[table].items()
            if view.rows != expected[table]
        ]
    return faults


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", required=True, metavar="URL", help="file:///folder or s3://bucket/prefix")
    parser.add_argument("--s3-endpoint", metavar="URL", help="another S3 than AWS's; addressed path-style")
    parser.add_argument("--s3-region", metavar="NAME", default="us-east-1")
    parser.add_argument("--access-key-env", metavar="NAME", default="AWS_ACCESS_KEY_ID")
    parser.add_argument("--secret-key-env", metavar="NAME", default="AWS_SECRET_ACCESS_KEY")
    parser.add_argument("--timezone", metavar="ZONE", type=zone, help="the lake's zone: hold `date` against it")
    parser.add_argument("--queries", metavar="FILE", help="a document whose SQL is run, on this lake in the demo's place")
    parser.add_argument("--expect", metavar="FILE", help='JSON with rows by table: {"calls": 12}')
    return parser.parse_args()


def zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, KeyError, OSError):
        raise argparse.ArgumentTypeError(f"{name} is no IANA zone") from None


def main() -> int:
    args = arguments()
    lake = Lake.of(args)
    seen = {table: {} for table in KEYS}
    for reader, views in (("duckdb", by_duckdb(lake)), ("pyarrow", by_pyarrow(lake))):
        for table, view in views.items():
            seen[table][reader] = view
    # For the others a path without files is an error, so that they read only tables that another reader found.
    present = {table for table, views in seen.items() if any(view.columns for view in views.values())}
    others = {"polars": see_by_polars, "pandas": see_by_pandas, "clickhouse": see_by_clickhouse}
    if not lake.s3:
        spark = engines.spark()
        others["spark"] = lambda lake, table: engines.see_by_spark(spark, lake.table(table), KEYS[table])
    for table, views in seen.items():
        for reader, see in others.items():
            views[reader] = see(lake, table) if table in present else TableView.nothing(KEYS[table])
    faults = [] if present else [f"{args.lake}: holds no table"]
    for table, views in seen.items():
        faults += differences(table, views)
    if args.timezone:
        faults += misdated(lake, present, args.timezone)
    if args.expect:
        faults += unexpected(args.expect, seen)
    tables = {table: {reader: asdict(view) for reader, view in views.items()} for table, views in seen.items()}
    faults += untrue(lake, present)
    told = {"lake": args.lake, "ok": not faults, "tables": tables}
    if args.queries:
        told["queries"] = answers(lake, args.queries)
    print(json.dumps(told, ensure_ascii=False, default=str))
    for fault in faults:
        print(f"readers: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

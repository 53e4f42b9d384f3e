"""Reads the Delta tables of a lake with delta-rs, DuckDB, Polars and ClickHouse, and compares every row with the plain tables.

ClickHouse has no null lists and maps: it reads them as empty ones, and is compared so. Everything else is the same.

    .tools/venv/bin/python tests/delta.py --lake file:///srv/lake --tables calls,participants

Prints a JSON object with the version, the number of files and rows, and the partition columns of each table. Exit status 1,
and a line for each fault on stderr, if a reader has other rows or columns than the plain table, or if a filter that lets
readers skip files gives other counts.
"""

import argparse
import datetime
import glob
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import chdb
import deltalake
import duckdb
import duckdb_extension_delta
import duckdb_extension_httpfs
import polars as pl
import pyarrow as pa

# The number of filters that are tried on a table.
MOST_FILTERS = 10


class Lake:
    """The address of a lake, as each reader needs it."""

    def __init__(self, args: argparse.Namespace):
        url = urlsplit(args.lake)
        self.options = {}
        if url.scheme == "file":
            self.root = unquote(url.path).rstrip("/")
        else:
            self.root = args.lake.rstrip("/")
            self.options = {
                "AWS_ENDPOINT_URL": args.s3_endpoint,
                "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
                "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }

    def connected(self) -> duckdb.DuckDBPyConnection:
        db = duckdb.connect()
        db.execute("SET TimeZone = 'UTC'")
        for package, name in ((duckdb_extension_httpfs, "httpfs"), (duckdb_extension_delta, "delta")):
            folder = Path(package.__file__).parent / "extensions" / f"v{duckdb.__version__}"
            db.execute(f"LOAD '{folder / name}.duckdb_extension'")
        if self.options:
            endpoint = urlsplit(self.options["AWS_ENDPOINT_URL"])
            db.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{self.options['AWS_ACCESS_KEY_ID']}', "
                f"SECRET '{self.options['AWS_SECRET_ACCESS_KEY']}', ENDPOINT '{endpoint.netloc}', "
                f"REGION 'us-east-1', URL_STYLE 'path', USE_SSL {endpoint.scheme == 'https'})"
            )
        return db


def plain(value):
    """A value in the form that all readers can be brought to."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return sorted((str(key), plain(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        inner = [plain(item) for item in value]
        # A map comes as a list of pairs, or of structs of key and value.
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return sorted((str(key), item) for key, item in inner)
        if value and all(isinstance(item, dict) and set(item) == {"key", "value"} for item in value):
            return sorted((item["key"], plain(item["value"])) for item in value)
        return inner
    return value


def rows(columns: list[str], found) -> Counter:
    """Rows as a multiset; an empty map and an empty list are the same."""
    order = sorted(range(len(columns)), key=lambda index: columns[index])
    return Counter(json.dumps([plain(row[index]) for index in order], default=str) for row in found)


def by_duckdb(db: duckdb.DuckDBPyConnection, source: str) -> pa.Table:
    return db.execute(f"SELECT * FROM {source}").to_arrow_table()


def without_null_lists(table: pa.Table) -> tuple[list[str], list[tuple]]:
    """The columns and rows of an Arrow table, in which every null list or map is an empty one."""
    nested = [pa.types.is_list(kind) or pa.types.is_map(kind) for kind in table.schema.types]
    columns, found = in_arrow(table)
    return columns, [
        tuple([] if value is None and is_nested else value for value, is_nested in zip(row, nested)) for row in found
    ]


def in_arrow(table: pa.Table) -> tuple[list[str], list[tuple]]:
    """The columns and rows of an Arrow table."""
    return table.column_names, [tuple(row.values()) for row in table.to_pylist()]


def plain_source(db: duckdb.DuckDBPyConnection, lake: Lake, table: str, dated: bool) -> str | None:
    """The plain table as a source for DuckDB; none if it has no file."""
    root = lake.root if lake.options else glob.escape(lake.root)
    pattern = f"{root}/{table}/date=*/*.parquet" if dated else f"{root}/{table}/*.parquet"
    if not db.execute("SELECT count(*) FROM glob(?)", [pattern]).fetchone()[0]:
        return None
    hive = "true" if dated else "false"
    return f"read_parquet('{pattern}', hive_partitioning = {hive}, union_by_name = true)"


def filters(db: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    """Conditions by which readers skip files: on dates, ids and times, at values that the table has."""
    found = []
    kinds = db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    # The last columns first: the date is the last one of all.
    for name, kind, *_ in reversed(kinds):
        if len(found) >= MOST_FILTERS:
            break
        if kind not in ("DATE", "TIMESTAMP WITH TIME ZONE") and not (kind == "VARCHAR" and name.endswith("_id")):
            continue
        values = db.execute(
            f'SELECT max("{name}")::VARCHAR, any_value("{name}")::VARCHAR FROM {source}'
        ).fetchone()
        for value in filter(None, set(values)):
            found.extend(f"\"{name}\" {operator} '{value}'::{kind}" for operator in ("=", "<"))
    return found


def by_clickhouse(lake: Lake, url: str) -> tuple[list[str], list[tuple]]:
    source = f"deltaLakeLocal('{url}')"
    if lake.options:
        address = f"{lake.options['AWS_ENDPOINT_URL']}/{url.removeprefix('s3://')}"
        keys = f"'{lake.options['AWS_ACCESS_KEY_ID']}', '{lake.options['AWS_SECRET_ACCESS_KEY']}'"
        source = f"deltaLake('{address}', {keys})"
    settings = "output_format_arrow_string_as_string = 1, output_format_arrow_compression_method = 'none'"
    answer = chdb.query(f"SELECT * FROM {source} SETTINGS {settings}", "Arrow").bytes()
    return in_arrow(pa.ipc.open_file(io.BytesIO(answer)).read_all())


def read(lake: Lake, db: duckdb.DuckDBPyConnection, table: str) -> tuple[dict, list[str]]:
    """What a table is like, and the faults of its readers."""
    url = f"{lake.root}/delta/{table}"
    opened = deltalake.DeltaTable(url, storage_options=lake.options)
    partitions = opened.metadata().partition_columns
    source = plain_source(db, lake, table, partitions == ["date"])
    views = {
        "delta-rs": in_arrow(opened.to_pyarrow_table()),
        "duckdb": in_arrow(by_duckdb(db, f"delta_scan('{url}')")),
        "polars": in_arrow(pl.scan_delta(url, storage_options=lake.options).collect().to_arrow()),
        "clickhouse": by_clickhouse(lake, url),
    }
    faults = []
    if source is None:
        faults.extend(f"{table}: {name} finds {len(view[1])} rows" for name, view in views.items() if view[1])
    else:
        in_lake = by_duckdb(db, source)
        columns, whole = in_lake.column_names, rows(*in_arrow(in_lake))
        for name, (names, view) in views.items():
            expected = rows(*without_null_lists(in_lake)) if name == "clickhouse" else whole
            if sorted(names) != sorted(columns):
                faults.append(f"{table}: {name} has the columns {sorted(set(names) ^ set(columns))} more or less")
                continue
            differ = (expected - rows(names, view)) + (rows(names, view) - expected)
            if differ:
                faults.append(f"{table}: {name} differs in {differ.total()} rows, such as {next(iter(differ))}")
        for condition in filters(db, source):
            count = "SELECT count(*) FROM {} WHERE {}"
            plainly = db.execute(count.format(source, condition)).fetchone()
            skipping = db.execute(count.format(f"delta_scan('{url}')", condition)).fetchone()
            if plainly != skipping:
                faults.append(f"{table}: {condition} has {skipping[0]} rows, not {plainly[0]}")
    protocol = opened.protocol()
    if (protocol.min_reader_version, protocol.min_writer_version) != (1, 2):
        faults.append(f"{table}: protocol {protocol}")
    told = {
        "version": opened.version(),
        "files": len(opened.file_uris()),
        "rows": len(views["duckdb"][1]),
        "partitions": partitions,
    }
    return told, faults


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lake", required=True)
    parser.add_argument("--tables", required=True)
    parser.add_argument("--s3-endpoint")
    args = parser.parse_args()
    lake = Lake(args)
    if not lake.options:
        # ClickHouse reads files below the working directory alone.
        os.chdir(lake.root)
    db = lake.connected()
    tables, faults = {}, []
    for table in args.tables.split(","):
        tables[table], more = read(lake, db, table)
        faults.extend(more)
    print(json.dumps(tables))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

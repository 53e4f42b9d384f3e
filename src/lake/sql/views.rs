//! The views of the tables. Pure.

use super::{LakeAddress, SqlDialect, one_line};
use crate::lake::table::{Column, Table, Type};

/// The description of the column `date`, which is a folder of the lake.
const DATE: &str = "Date of the file, in the lake's time zone";

/// The lines that a reader of a bucket has to fill in: as comments, so that the script runs where they are not needed.
pub(super) fn credentials(dialect: SqlDialect, address: &LakeAddress) -> String {
    let LakeAddress::S3 {
        bucket,
        region,
        endpoint,
        path_style,
        ..
    } = address
    else {
        return String::new();
    };
    let literal = |text: &str| dialect.literal(text);
    match dialect {
        SqlDialect::DuckDb => {
            let mut options = vec!["TYPE s3".to_owned()];
            options.push("KEY_ID '…', SECRET '…'".into());
            if !region.is_empty() {
                options.push(format!("REGION {}", literal(region)));
            }
            if let Some((scheme, host)) = endpoint.split_once("://") {
                options.push(format!("ENDPOINT {}, USE_SSL {}", literal(host), scheme == "https"));
            }
            if *path_style {
                options.push("URL_STYLE 'path'".into());
            }
            options.push(format!("SCOPE {}", literal(&format!("s3://{bucket}"))));
            format!(
                "\n-- Access to the bucket: fill in the keys and remove the dashes before the three lines.\n\
                 -- INSTALL httpfs;\n-- LOAD httpfs;\n-- CREATE OR REPLACE SECRET telelake ({});\n",
                one_line(&options.join(", "))
            )
        }
        SqlDialect::ClickHouse => "\n-- Access to the bucket: the keys come from the environment (AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY) or from the\n-- server's configuration (<s3> with access_key_id and secret_access_key).\n"
            .into(),
        SqlDialect::Spark => {
            let mut lines = String::from(
                "\n-- Access to the bucket needs the package hadoop-aws and these options of spark-sql:\n\
                 --   --conf spark.hadoop.fs.s3a.access.key=… --conf spark.hadoop.fs.s3a.secret.key=…\n",
            );
            if !endpoint.is_empty() {
                lines.push_str(&format!(
                    "--   --conf spark.hadoop.fs.s3a.endpoint={} --conf spark.hadoop.fs.s3a.path.style.access={path_style}\n",
                    one_line(endpoint)
                ));
            }
            lines
        }
    }
}

/// The view of a table.
pub(super) fn view(dialect: SqlDialect, address: &LakeAddress, table: &Table, has_files: bool) -> String {
    let mut text = format!(
        "\n-- {}: a row for {}.\n",
        one_line(&table.name),
        one_line(&table.row)
    );
    if !has_files {
        text.push_str("-- The table has no files yet.\n");
    }
    let columns = columns(dialect, table);
    text.push_str(&match (dialect, has_files) {
        (SqlDialect::DuckDb, true) => duckdb(address, table, &columns),
        (SqlDialect::ClickHouse, true) => clickhouse(address, table, &columns),
        (SqlDialect::Spark, true) => spark(address, table, &columns),
        (_, false) => empty(dialect, table, &columns),
    });
    if dialect == SqlDialect::DuckDb {
        let view = dialect.identifier(&table.name);
        text.push_str(&format!(
            "COMMENT ON VIEW {view} IS {};\n",
            dialect.literal(&comment(table))
        ));
        for column in &columns {
            text.push_str(&format!(
                "COMMENT ON COLUMN {view}.{} IS {};\n",
                column.identifier, column.comment
            ));
        }
    }
    text
}

/// A column of a view, in the words of a dialect.
struct ViewColumn<'t> {
    name: &'t str,
    identifier: String,
    kind: &'static str,
    comment: String,
}

fn columns<'t>(dialect: SqlDialect, table: &'t Table) -> Vec<ViewColumn<'t>> {
    let own = table.columns.iter().map(|column: &Column| ViewColumn {
        name: &column.name,
        identifier: dialect.identifier(&column.name),
        kind: type_name(dialect, column.kind),
        comment: dialect.literal(&column.doc),
    });
    let date = table.is_dated().then(|| ViewColumn {
        name: "date",
        identifier: dialect.identifier("date"),
        kind: "DATE",
        comment: dialect.literal(DATE),
    });
    own.chain(date).collect()
}

fn comment(table: &Table) -> String {
    format!("A row for {}", table.row)
}

fn type_name(dialect: SqlDialect, kind: Type) -> &'static str {
    let [duckdb, clickhouse, spark] = match kind {
        Type::String | Type::Json => ["VARCHAR", "Nullable(String)", "STRING"],
        Type::Int64 => ["BIGINT", "Nullable(Int64)", "BIGINT"],
        Type::Double => ["DOUBLE", "Nullable(Float64)", "DOUBLE"],
        Type::Bool => ["BOOLEAN", "Nullable(Bool)", "BOOLEAN"],
        Type::Timestamp => ["TIMESTAMPTZ", "Nullable(DateTime64(6, 'UTC'))", "TIMESTAMP"],
        Type::Strings => ["VARCHAR[]", "Array(Nullable(String))", "ARRAY<STRING>"],
        Type::Sessions => [
            "STRUCT(joined_at TIMESTAMPTZ, left_at TIMESTAMPTZ)[]",
            "Array(Tuple(joined_at Nullable(DateTime64(6, 'UTC')), left_at Nullable(DateTime64(6, 'UTC'))))",
            "ARRAY<STRUCT<joined_at: TIMESTAMP, left_at: TIMESTAMP>>",
        ],
        Type::Date => ["DATE", "Nullable(Date)", "DATE"],
        Type::Options => [
            "STRUCT(option_id VARCHAR, text VARCHAR, is_right BOOLEAN)[]",
            "Array(Tuple(option_id Nullable(String), text Nullable(String), is_right Nullable(Bool)))",
            "ARRAY<STRUCT<option_id: STRING, text: STRING, is_right: BOOLEAN>>",
        ],
        Type::Counts => [
            "MAP(VARCHAR, BIGINT)",
            "Map(String, Nullable(Int64))",
            "MAP<STRING, BIGINT>",
        ],
        Type::Map => [
            "MAP(VARCHAR, VARCHAR)",
            "Map(String, Nullable(String))",
            "MAP<STRING, STRING>",
        ],
    };
    match dialect {
        SqlDialect::DuckDb => duckdb,
        SqlDialect::ClickHouse => clickhouse,
        SqlDialect::Spark => spark,
    }
}

/// The pattern of a table's files below its folder.
fn pattern(table: &Table) -> &'static str {
    if table.is_dated() {
        "date=*/*.parquet"
    } else {
        "*.parquet"
    }
}

/// The lines of a list, with commas between them.
fn lines(items: impl Iterator<Item = String>) -> String {
    items
        .map(|item| format!("  {item}"))
        .collect::<Vec<_>>()
        .join(",\n")
}

/// DuckDB takes the date from the file's name, because a declared schema excludes Hive partitions. A condition on the
/// date still saves opening the other files.
fn duckdb(address: &LakeAddress, table: &Table, columns: &[ViewColumn<'_>]) -> String {
    let dialect = SqlDialect::DuckDb;
    let root = match address {
        LakeAddress::Folder(path) => escaped(path),
        LakeAddress::S3 { bucket, prefix, .. } => escaped(&joined(&format!("s3://{bucket}"), prefix)),
    };
    let own = &columns[..table.columns.len()];
    let mut selected: Vec<String> = own.iter().map(|column| column.identifier.clone()).collect();
    if table.is_dated() {
        selected.push(r#"CAST(regexp_extract(filename, '[/\\]date=(\d{4}-\d{2}-\d{2})[/\\][^/\\]*$', 1) AS DATE) AS "date""#.into());
    }
    let schema = own.iter().map(|column| {
        let name = dialect.literal(column.name);
        format!(
            "{name}: {{name: {name}, type: {}, default_value: NULL}}",
            dialect.literal(column.kind)
        )
    });
    format!(
        "CREATE OR REPLACE VIEW {} AS\nSELECT\n{}\nFROM read_parquet({}, filename = true, schema = MAP {{\n{}\n}});\n",
        dialect.identifier(&table.name),
        lines(selected.into_iter()),
        dialect.literal(&format!("{root}/{}/{}", table.name, pattern(table))),
        lines(schema)
    )
}

fn clickhouse(address: &LakeAddress, table: &Table, columns: &[ViewColumn<'_>]) -> String {
    let dialect = SqlDialect::ClickHouse;
    let structure: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.identifier, column.kind))
        .collect();
    let below = format!("{}/{}", table.name, pattern(table));
    let (function, root) = match address {
        LakeAddress::Folder(path) => ("file", path.clone()),
        LakeAddress::S3 {
            bucket,
            prefix,
            region,
            endpoint,
            path_style,
        } => (
            "s3",
            joined(&https(bucket, region, endpoint, *path_style), prefix),
        ),
    };
    format!(
        "CREATE OR REPLACE VIEW {} (\n{}\n) AS\nSELECT {}\nFROM {function}({}, 'Parquet', {})\nSETTINGS use_hive_partitioning = 1\nCOMMENT {};\n",
        dialect.identifier(&table.name),
        declared(columns),
        names(columns),
        dialect.literal(&format!("{root}/{below}")),
        dialect.literal(&structure.join(", ")),
        dialect.literal(&comment(table))
    )
}

/// The columns with types and comments.
fn declared(columns: &[ViewColumn<'_>]) -> String {
    lines(
        columns
            .iter()
            .map(|column| format!("{} {} COMMENT {}", column.identifier, column.kind, column.comment)),
    )
}

fn names(columns: &[ViewColumn<'_>]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.identifier.as_str()).collect();
    names.join(", ")
}

/// The address of a bucket for ClickHouse.
fn https(bucket: &str, region: &str, endpoint: &str, path_style: bool) -> String {
    let region = if region.is_empty() { "us-east-1" } else { region };
    match endpoint.split_once("://") {
        None => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        Some(_) if path_style => format!("{endpoint}/{bucket}"),
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
    }
}

fn spark(address: &LakeAddress, table: &Table, columns: &[ViewColumn<'_>]) -> String {
    let dialect = SqlDialect::Spark;
    let root = match address {
        LakeAddress::Folder(path) => path.clone(),
        LakeAddress::S3 { bucket, prefix, .. } => joined(&format!("s3a://{bucket}"), prefix),
    };
    format!(
        "CREATE OR REPLACE TEMPORARY VIEW {} (\n{}\n)\nUSING parquet\nOPTIONS (path {}, pathGlobFilter '*.parquet');\n",
        dialect.identifier(&table.name),
        declared(columns),
        dialect.literal(&format!("{root}/{}", table.name))
    )
}

/// A view with the columns of a table and no row.
fn empty(dialect: SqlDialect, table: &Table, columns: &[ViewColumn<'_>]) -> String {
    let identifier = dialect.identifier(&table.name);
    let comment = dialect.literal(&comment(table));
    let typed = columns.iter().map(|column| {
        let nothing = match column.kind {
            kind if kind.starts_with("Array(") => "[]",
            kind if kind.starts_with("Map(") => "map()",
            _ => "NULL",
        };
        // ClickHouse knows the columns of partitions as never null.
        let kind = match (dialect, column.kind) {
            (SqlDialect::ClickHouse, "DATE") => "Nullable(Date)",
            (_, kind) => kind,
        };
        format!("CAST({nothing} AS {kind}) AS {}", column.identifier)
    });
    let select = format!("SELECT\n{}\nWHERE false", lines(typed));
    match dialect {
        SqlDialect::DuckDb => format!("CREATE OR REPLACE VIEW {identifier} AS\n{select};\n"),
        SqlDialect::ClickHouse => {
            format!("CREATE OR REPLACE VIEW {identifier} AS\n{select}\nCOMMENT {comment};\n")
        }
        SqlDialect::Spark => {
            let commented = lines(
                columns
                    .iter()
                    .map(|column| format!("{} COMMENT {}", column.identifier, column.comment)),
            );
            format!(
                "CREATE OR REPLACE TEMPORARY VIEW {identifier} (\n{commented}\n)\nCOMMENT {comment} AS\n{select};\n"
            )
        }
    }
}

fn joined(root: &str, prefix: &str) -> String {
    if prefix.is_empty() {
        root.to_owned()
    } else {
        format!("{root}/{prefix}")
    }
}

/// An address in which no character is special in a pattern of DuckDB.
fn escaped(address: &str) -> String {
    address.chars().fold(String::new(), |mut pattern, char| {
        match char {
            '*' | '?' | '[' => pattern.extend(['[', char, ']']),
            char => pattern.push(char),
        }
        pattern
    })
}

//! `sql`: prints a script with a view for each table and the marts. Reads only the names of the lake's files.

use clap::ValueEnum;

use super::CommandContext;
use crate::lake::sql::{self, LakeAddress, SqlDialect};
use crate::{ExitStatus, Result, pipeline, store};

/// Print a script that makes a view for each table of the lake, and the marts: lessons, attendance, attendance_by_level,
/// student_course, teachers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The engine that will run it
    #[arg(long, value_name = "DIALECT", default_value = "duckdb")]
    dialect: DialectArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lowercase")]
enum DialectArg {
    /// DuckDB
    DuckDb,
    /// ClickHouse, also `clickhouse local` and chDB
    ClickHouse,
    /// Spark SQL
    Spark,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    let mapping = pipeline::mapping(&config)?;
    let store = store::open(&config.store).await?;
    pipeline::warn_without_lake(&*store).await?;
    let mut tables = Vec::new();
    for table in mapping.tables() {
        let files = store.list(&format!("{}/", table.name)).await?;
        let has_files = files.iter().any(|file| file.key.ends_with(".parquet"));
        tables.push((table, has_files));
    }
    let dialect = match args.dialect {
        DialectArg::DuckDb => SqlDialect::DuckDb,
        DialectArg::ClickHouse => SqlDialect::ClickHouse,
        DialectArg::Spark => SqlDialect::Spark,
    };
    let address = LakeAddress::of(&config.store.url, &config.store.s3);
    super::print(&sql::script(dialect, &address, &tables))?;
    Ok(ExitStatus::Done)
}

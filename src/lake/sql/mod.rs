//! The SQL script over a lake: a view for each table, and the marts for analysts. Pure; printed by the command `sql`.
//!
//! Each view names its columns with their types, so that an engine opens no file to learn them, and a file that is older
//! than a column gives null. A table without files gets a view without rows, so that the marts always work.

mod marts;
mod views;

use super::table::Table;

/// An engine that runs the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlDialect {
    /// DuckDB.
    DuckDb,
    /// ClickHouse: a server, `clickhouse local` or chDB.
    ClickHouse,
    /// Spark SQL.
    Spark,
}

/// The place of a lake, as engines need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LakeAddress {
    /// A folder, by its path.
    Folder(String),
    /// A bucket.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The prefix of all keys, without slashes at its ends; may be empty.
        prefix: String,
        /// The region; empty if none is configured.
        region: String,
        /// An endpoint other than that of AWS, else empty.
        endpoint: String,
        /// True for `endpoint/bucket/key`.
        path_style: bool,
    },
}

impl LakeAddress {
    /// The address of a store's URL.
    pub fn of(url: &str, s3: &crate::config::S3) -> Self {
        if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            return Self::S3 {
                bucket: bucket.into(),
                prefix: prefix.trim_matches('/').into(),
                region: s3.region.clone(),
                endpoint: s3.endpoint_url.trim_end_matches('/').into(),
                path_style: s3.path_style,
            };
        }
        // Engines do not decode URLs.
        let path = reqwest::Url::parse(url)
            .ok()
            .and_then(|url| url.to_file_path().ok());
        let path = path.and_then(|path| path.to_str().map(str::to_owned));
        Self::Folder(
            path.unwrap_or_else(|| url.into())
                .trim_end_matches('/')
                .to_owned(),
        )
    }
}

/// The whole script. Each table comes with true if it has files.
pub fn script(dialect: SqlDialect, address: &LakeAddress, tables: &[(&Table, bool)]) -> String {
    let mut text = head(dialect);
    text.push_str(&views::credentials(dialect, address));
    for (table, has_files) in tables {
        text.push_str(&views::view(dialect, address, table, *has_files));
    }
    text.push('\n');
    text.push_str(&marts::marts(dialect));
    text
}

fn head(dialect: SqlDialect) -> String {
    let (name, hint) = match dialect {
        SqlDialect::DuckDb => ("DuckDB", "duckdb lake.db -f FILE"),
        SqlDialect::ClickHouse => (
            "ClickHouse",
            "clickhouse local --path DIR --queries-file FILE; a server reads a folder only below its user_files_path",
        ),
        SqlDialect::Spark => (
            "Spark SQL",
            "spark-sql -i FILE; the views last as long as the session",
        ),
    };
    format!(
        "-- Views and marts over a lake of telelake, for {name}. Made by `telelake sql`; run it as one script:\n\
         --   {hint}\n\
         -- Instants are in UTC. `date` is the date of the file in the lake's time zone; a condition on it saves reading the\n\
         -- files of other dates. A table that has no files yet is a view without rows: make the script again when it has.\n"
    )
}

impl SqlDialect {
    /// A name as an identifier.
    fn identifier(self, name: &str) -> String {
        match self {
            Self::DuckDb => format!("\"{}\"", name.replace('"', "\"\"")),
            Self::ClickHouse => format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")),
            Self::Spark => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// A text as a literal.
    fn literal(self, text: &str) -> String {
        match self {
            Self::DuckDb => format!("'{}'", text.replace('\'', "''")),
            Self::ClickHouse | Self::Spark => {
                format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
            }
        }
    }
}

/// Text for the rest of a line after `--`.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;

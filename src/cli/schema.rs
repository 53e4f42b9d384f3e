//! `schema`: prints the data dictionary. Needs no token and opens no store.

use clap::ValueEnum;

use super::CommandContext;
use crate::lake::table::{Table, dictionary};
use crate::pipeline;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Print the data dictionary: the meaning of a row of each table, and the name, type and meaning of each column
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this table
    #[arg(value_name = "TABLE")]
    table: Option<String>,
    /// The format
    #[arg(long, value_name = "FORMAT", default_value = "md")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Markdown, for people
    Md,
    /// JSON, for programs
    Json,
}

pub(super) fn run(context: &CommandContext, args: &Args) -> Result<ExitStatus> {
    let config = context.config()?;
    let mapping = pipeline::mapping(&config)?;
    let tables = chosen(mapping.tables().collect(), args.table.as_deref())?;
    let text = match args.format {
        Format::Md => dictionary::markdown(tables),
        Format::Json => format!("{:#}\n", dictionary::json(tables)),
    };
    super::print(&text)?;
    Ok(ExitStatus::Done)
}

fn chosen<'t>(mut tables: Vec<&'t Table>, name: Option<&str>) -> Result<Vec<&'t Table>> {
    let Some(name) = name else {
        return Ok(tables);
    };
    let names: Vec<_> = tables.iter().map(|table| table.name.as_ref()).collect();
    let unknown = Error::new(ErrorKind::Usage, name, "there is no such table")
        .hint(format!("there are {}", names.join(", ")));
    tables.retain(|table| table.name == name);
    if tables.is_empty() {
        Err(unknown)
    } else {
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::builtin;

    #[test]
    fn an_unknown_table_is_refused_and_the_known_ones_are_named() {
        let error = chosen(builtin::all().iter().collect(), Some("lessons")).expect_err("no such table");
        assert_eq!(error.exit_status(), ExitStatus::Usage);
        assert!(error.to_string().contains("participants"), "{error}");
    }
}

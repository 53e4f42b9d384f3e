//! `config`: prints an example configuration, or the effective one.

use crate::config::{Config, Duration, RawKept};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Print an example configuration, or the effective one
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print a commented configuration with the default of every key
    Example,
    /// Print the effective configuration, with masked secrets
    Show,
}

const EXAMPLE: &str = include_str!("../../config/telelake.example.toml");

pub(super) fn run(context: &super::CommandContext, args: &Args) -> Result<ExitStatus> {
    let text = match args.action {
        Action::Example => EXAMPLE.to_owned(),
        Action::Show => show(&context.config()?)?,
    };
    super::print(&text)?;
    Ok(ExitStatus::Done)
}

fn show(config: &Config) -> Result<String> {
    let text = toml::to_string(config)
        .map_err(|e| Error::new(ErrorKind::Internal, "configuration", e.to_string()))?;
    Ok(text + &raw_note(config))
}

/// A comment on how long raw reports are kept, because several keys decide it.
fn raw_note(config: &Config) -> String {
    let kept = match (config.privacy.raw, shortest_raw(config)) {
        (RawKept::None, _) => "until their day is built and nothing of it is pending".to_owned(),
        (_, Some(time)) => format!("for {} after their day", humantime::format_duration(*time)),
        (_, None) => return String::new(),
    };
    format!(
        "\n# Raw reports are kept {kept}: they hold all of a call, so that the shortest of privacy.raw, retention.raw,\n\
         # retention.messages and retention.tables counts.\n"
    )
}

fn shortest_raw(config: &Config) -> Option<Duration> {
    let retention = &config.retention;
    let private = match config.privacy.raw {
        RawKept::For(time) => Some(time),
        RawKept::Keep | RawKept::None => None,
    };
    let times = [retention.raw, retention.messages, retention.tables, private];
    times.into_iter().flatten().min_by_key(|time| **time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_every_key_at_its_default() {
        let example: Config = toml::from_str(EXAMPLE).expect("parses");
        assert_eq!(example, Config::default());
        let (example, all): (toml::Table, toml::Table) = (
            toml::from_str(EXAMPLE).expect("parses"),
            toml::Table::try_from(Config::default()).expect("serializes"),
        );
        assert_eq!(keys(&example), keys(&all));
    }

    #[test]
    fn the_time_for_which_raw_reports_are_kept_is_said_if_any_key_limits_it() {
        let note = |text: &str| raw_note(&toml::from_str::<Config>(text).expect("a configuration"));
        assert_eq!(note("[retention]\nrecordings = \"5d\""), "");
        let shortest =
            note("[privacy]\nraw = \"9d\"\n[retention]\nraw = \"8d\"\nmessages = \"7d\"\ntables = \"10d\"");
        assert!(shortest.contains("kept for 7days after their day"), "{shortest}");
        let none = note("[privacy]\nraw = \"none\"\n[retention]\nraw = \"8d\"");
        assert!(none.contains("kept until their day is built"), "{none}");
    }

    fn keys(table: &toml::Table) -> std::collections::BTreeSet<String> {
        let nested = |(key, value): (&String, &toml::Value)| match value {
            toml::Value::Table(table) => keys(table)
                .into_iter()
                .map(|inner| format!("{key}.{inner}"))
                .collect(),
            _ => vec![key.clone()],
        };
        table.iter().flat_map(nested).collect()
    }
}

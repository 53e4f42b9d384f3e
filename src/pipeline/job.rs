//! The words for a job that more than one part of the program needs: its command, and the half that it does. Pure.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};

/// The command that a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The nightly run.
    Run,
    /// A range of dates that somebody asked for.
    Backfill,
    /// The daemon's run over the rooms of webhook events.
    Webhook,
    /// Building tables again from landed bytes.
    Rebuild,
    /// The repair of what `verify` found.
    Repair,
    /// A run against the simulator.
    Demo,
    /// An import of lesson data.
    MetaImport,
}

impl Command {
    /// The name, as summaries, metrics, leases and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Backfill => "backfill",
            Self::Webhook => "webhook",
            Self::Rebuild => "rebuild",
            Self::Repair => "repair",
            Self::Demo => "demo",
            Self::MetaImport => "meta import",
        }
    }

    /// Finds a command by its name. A stored summary may have one that this version does not know.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Run,
            Self::Backfill,
            Self::Webhook,
            Self::Rebuild,
            Self::Repair,
            Self::Demo,
            Self::MetaImport,
        ];
        all.into_iter().find(|command| command.name() == name)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The half of the work that a job does, if it does not do all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Reports and their tables
    Analytics,
    /// MP4 files
    Recordings,
}

impl Only {
    /// The name, as the command line and the API take it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Analytics => "analytics",
            Self::Recordings => "recordings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_its_name() {
        assert_eq!(Command::from_name("meta import"), Some(Command::MetaImport));
        assert_eq!(Command::from_name("of a newer version"), None);
        let json = serde_json::to_string(&[Command::Run, Command::Repair]).expect("JSON");
        assert_eq!(json, r#"["run","repair"]"#);
    }

    #[test]
    fn the_command_line_and_json_name_a_half_alike() {
        for half in [Only::Analytics, Only::Recordings] {
            let cli = half.to_possible_value().expect("a value");
            assert_eq!(cli.get_name(), half.name());
            assert_eq!(serde_json::to_value(half).expect("JSON"), half.name());
        }
    }
}

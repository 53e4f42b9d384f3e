//! The text of a summary for people. Pure.

use std::collections::BTreeMap;

use chrono::SecondsFormat;

use super::{Outcome, Problem, ProblemKind, Summary};

/// Problems shown of each list. The run's summary in the store has all of them.
const SHOWN: usize = 5;

impl Outcome {
    /// The outcome in words.
    pub fn for_people(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Partial => "done in part",
            Self::Nothing => "NOTHING DONE",
            Self::Cancelled => "cancelled",
            Self::Killed => "KILLED",
        }
    }
}

impl Summary {
    /// The text that a person reads when the run is over: a line each for the counts, for what is missing and why.
    pub fn for_people(&self) -> String {
        let mut lines = vec![self.headline()];
        let c = &self.counts;
        lines.push(format!(
            "  calls {}   reports {} landed, {} in the lake   recordings {} landed ({}), {} in the lake",
            c.calls,
            c.reports_landed,
            c.reports.done,
            c.records_landed,
            bytesize::ByteSize(c.recorded_bytes).display().iec(),
            c.records.done
        ));
        if c.writes == 0 && self.outcome == Outcome::Done {
            lines.push("  nothing new: no object was written".into());
        }
        if let Some(error) = &self.error {
            lines.push(format!("  {error}"));
        }
        lines.extend(section(&self.id, "failed, will be tried again", &self.failed));
        lines.extend(section(
            &self.id,
            "not ready, will be asked for again",
            &self.pending,
        ));
        lines.extend(section(&self.id, "warnings", &self.warnings));
        if let Some(date) = self.interrupted_before {
            lines.push(format!("  stopped: dates from {date} on were not exported"));
        }
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let word = self.outcome.for_people();
        let took = self.finished_at.map_or_else(String::new, |end| {
            format!(" in {:.1} s", (end - self.started_at).as_seconds_f64())
        });
        format!(
            "{}{} {}: {word}{took}   {} to {}   {} spaces, {} rooms, {} days, {} requests   [{}]",
            self.command,
            self.shard
                .as_ref()
                .map(|shard| format!(" (shard {}/{})", shard.index, shard.count))
                .unwrap_or_default(),
            self.started_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            self.from,
            self.to,
            self.counts.spaces,
            self.counts.rooms,
            self.counts.days,
            self.counts.requests,
            self.id
        )
    }
}

/// The lines of a list of problems: the number of each kind, then the first problems.
fn section(run: &str, title: &str, problems: &[Problem]) -> Vec<String> {
    if problems.is_empty() {
        return Vec::new();
    }
    let mut kinds = BTreeMap::<&ProblemKind, usize>::new();
    for problem in problems {
        *kinds.entry(&problem.kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .into_iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let mut lines = vec![format!("  {title}: {}", kinds.join(", "))];
    lines.extend(
        problems
            .iter()
            .take(SHOWN)
            .map(|problem| format!("    {}", problem.one_line())),
    );
    if problems.len() > SHOWN {
        lines.push(format!(
            "    … and {} more, in {}",
            problems.len() - SHOWN,
            crate::lake::key::run(run)
        ));
    }
    lines
}

/// The kind that most problems have, how many they are, and the first of them.
pub(super) fn most_frequent(problems: &[Problem]) -> Option<(&ProblemKind, usize, &Problem)> {
    let mut kinds = BTreeMap::<&ProblemKind, (usize, &Problem)>::new();
    for problem in problems {
        kinds.entry(&problem.kind).or_insert((0, problem)).0 += 1;
    }
    let most = kinds.into_iter().max_by_key(|(_, (count, _))| *count);
    most.map(|(kind, (count, first))| (kind, count, first))
}

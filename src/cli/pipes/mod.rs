//! Dagster Pipes: how a command reports to the Dagster process that started it. The protocol is that of the Python package
//! `dagster-pipes`, with its default ways of context and messages.
//!
//! Dagster keeps what it is told, so that messages hold ids, counts and reasons: nothing personal, no token, no signed URL.

mod context;
mod coverage;
mod message;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use serde_json::{Value, json};

pub(super) use context::Partition;
use context::{CONTEXT, StepContext};
use coverage::Check;
use message::{Channel, MESSAGES, Metadata};

use crate::ids::SpaceId;
use crate::pipeline::{Problem, Summary};
use crate::store::Store;
use crate::verify::Verified;
use crate::{Error, ExitStatus, Result};

/// Problems of each list that are logged. The summary has all of them.
const LOGGED: usize = 20;
/// The check that `verify` found no damage.
const WHOLE: &str = "whole";

/// The connection of a command to the Dagster step that started it.
#[derive(Debug)]
pub(super) struct Session {
    step: StepContext,
    channel: Channel,
    /// The end of the command, once it is reported: its status, and why it is not `Done`.
    end: OnceLock<(ExitStatus, Option<String>)>,
}

impl Session {
    /// Opens the connection that the environment describes, and tells Dagster so.
    ///
    /// # Errors
    /// `Usage` if a variable is missing or not Dagster's.
    pub fn open() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        Self::of(variable(CONTEXT).as_deref(), variable(MESSAGES).as_deref())
    }

    fn of(context: Option<&str>, messages: Option<&str>) -> Result<Self> {
        let session = Self {
            step: StepContext::read(context)?,
            channel: Channel::read(messages)?,
            end: OnceLock::new(),
        };
        session.channel.send("opened", &json!({ "extras": {} }));
        Ok(session)
    }

    /// The dates and the space of the step's partition; none for a step without partitions.
    ///
    /// # Errors
    /// `Usage` if the key is neither a date, nor a date and a space.
    pub fn partition(&self) -> Result<Option<Partition>> {
        self.step.partition()
    }

    /// Reports a run that ends with `exit_status`: what went wrong, the asset checks, and, if the status is 0, the
    /// materialization. A lake that can't be read then is a log message.
    pub async fn report_run(
        &self,
        store: &dyn Store,
        (summary, exit_status): (&Summary, u8),
        spaces: &[SpaceId],
    ) {
        let _ = self.end.set((summary.status(), summary.cause.clone()));
        self.log_run(summary);
        let coverage = match coverage::read(store, summary, spaces).await {
            Ok(coverage) => coverage,
            Err(error) => {
                self.log(
                    "ERROR",
                    &format!("the days of the run could not be read: {error}"),
                );
                return;
            }
        };
        if exit_status == ExitStatus::Done as u8 {
            let is_partition = self.step.partition_key.is_some();
            let metadata = coverage.metadata(summary, store.url(), is_partition).into_json();
            let version = coverage.data_version();
            for asset in self.step.assets() {
                let params = json!({ "asset_key": asset, "data_version": version, "metadata": metadata });
                self.channel.send("report_asset_materialization", &params);
            }
        } else if summary.status() == ExitStatus::Done {
            self.log(
                "INFO",
                "there was nothing to do: the asset is not materialized again",
            );
        }
        for check in coverage.checks() {
            self.report_check(check);
        }
    }

    /// Reports the end of a verification as the asset check `whole`.
    pub fn report_verification(&self, verified: &Verified, status: ExitStatus) {
        let cause = format!("{} findings", verified.counts.findings);
        let _ = self.end.set((status, Some(cause)));
        let mut kinds = serde_json::Map::new();
        for finding in &verified.findings {
            let kind = kinds.entry(finding.kind.as_str()).or_insert_with(|| 0.into());
            *kind = (kind.as_u64().unwrap_or_default() + 1).into();
        }
        let counts = &verified.counts;
        let metadata = Metadata::default()
            .int("days", counts.days)
            .int("objects", counts.reports + counts.recordings + counts.tables)
            .int("findings", counts.findings)
            .int("mended", counts.mended)
            .json("findings_by_kind", Value::Object(kinds));
        self.report_check(Check {
            name: WHOLE,
            passed: verified.is_whole() && !verified.interrupted,
            severity: "ERROR",
            metadata,
        });
    }

    /// Reports a check of each asset, if the step asks for it.
    fn report_check(&self, check: Check) {
        if !self.step.wants_check(check.name) {
            return;
        }
        let metadata = check.metadata.into_json();
        for asset in self.step.assets() {
            let params = json!({
                "asset_key": asset,
                "check_name": check.name,
                "passed": check.passed,
                "severity": check.severity,
                "metadata": metadata,
            });
            self.channel.send("report_asset_check", &params);
        }
    }

    fn log_run(&self, summary: &Summary) {
        let counts = &summary.counts;
        self.log(
            "INFO",
            &format!(
                "run {}: {} days, {} calls, {} reports and {} recordings landed, {} requests",
                summary.id,
                counts.days,
                counts.calls,
                counts.reports_landed,
                counts.records_landed,
                counts.requests
            ),
        );
        let lists = [
            ("ERROR", "failed", &summary.failed),
            ("WARNING", "pending", &summary.pending),
            ("WARNING", "warning", &summary.warnings),
        ];
        for (level, word, problems) in lists {
            let line = |problem: &Problem| format!("{word}: {}: {}", problem.kind, problem.one_line());
            for problem in problems.iter().take(LOGGED) {
                self.log(level, &line(problem));
            }
            if problems.len() > LOGGED {
                let more = problems.len() - LOGGED;
                self.log(level, &format!("{word}: {more} more, in the summary of the run"));
            }
        }
    }

    fn log(&self, level: &str, message: &str) {
        self.channel
            .send("log", &json!({ "message": message, "level": level }));
    }

    /// Ends the connection. `outcome` is the exit status of the command, or its error.
    pub fn close(self, outcome: &Result<u8, Error>) {
        let (status, cause) = match (outcome, self.end.into_inner()) {
            (Err(error), _) => (error.exit_status(), Some(error.to_string())),
            // The exit status may be that of `--skip-exit-code`.
            (Ok(_), Some(end)) => end,
            (Ok(0), None) => (ExitStatus::Done, None),
            (Ok(_), None) => (ExitStatus::Unexpected, None),
        };
        let params = match status {
            ExitStatus::Done => json!({}),
            _ => {
                // Dagster shows the name in the place of an exception's class.
                let name = format!("{status:?}");
                let message = cause.unwrap_or_else(|| format!("ended with exit status {}", status as u8));
                json!({ "exception": {
                    "name": name, "message": message, "stack": [], "cause": null, "context": null,
                } })
            }
        };
        self.channel.send("closed", &params);
        self.channel.flush();
    }
}

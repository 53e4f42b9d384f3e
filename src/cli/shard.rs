//! `--shard`: the part of a job that this process does, from the command line or from the variables of an engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use serde::Deserialize;

use super::CommandContext;
use crate::ids::{DayId, SpaceId};
use crate::pipeline::{JobShard, RecordedBytes};
use crate::sanitize::escaped;
use crate::shard::Shard;
use crate::{Error, ErrorKind, Result};

/// The number of shards; it goes before the engine's own.
const SHARDS: &str = "TELELAKE_SHARDS";
/// The name of the job, if the engine has none that all of its shards see.
const JOB: &str = "TELELAKE_JOB";

/// The part of the job that this process does.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ShardArgs {
    /// Only shard I of N, from 0/N to N-1/N: together, on any machines, they do what one process does. `auto` takes both
    /// numbers from Kubernetes (JOB_COMPLETION_INDEX, with TELELAKE_SHARDS), AWS Batch or Slurm
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
}

impl ShardArgs {
    /// The shard of this process; `None` if it does all of the job.
    ///
    /// # Errors
    /// `Usage` if there is no such shard, or the variables of no engine are there.
    pub fn read(&self, context: &CommandContext) -> Result<Option<JobShard>> {
        let Some(text) = &self.shard else {
            return Ok(None);
        };
        let get = |name: &str| context.variable(name);
        let wrong = |message: String| Error::new(ErrorKind::Usage, format!("--shard {text}"), message);
        let (shard, name) = if text == "auto" {
            of_engine(get).map_err(|message| {
                wrong(message).hint("set --shard I/N, or TELELAKE_SHARDS and JOB_COMPLETION_INDEX")
            })?
        } else {
            (text.parse().map_err(wrong)?, None)
        };
        let name = get(JOB).filter(|name| !name.is_empty()).or(name);
        Ok(Some(JobShard {
            name,
            ..JobShard::new(shard)
        }))
    }
}

/// The shard and the name of the job by the variables of an engine.
fn of_engine(get: impl Fn(&str) -> Option<String>) -> std::result::Result<(Shard, Option<String>), String> {
    let number = |name: &str| match get(name) {
        None => Ok(None),
        Some(text) => match text.trim().parse::<u32>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name} is no number: {}", escaped(&text))),
        },
    };
    let count = |of_engine: &str| match number(SHARDS)? {
        Some(count) => Ok(count),
        None => number(of_engine)?.ok_or(format!("{of_engine} is not set, and {SHARDS} is not either")),
    };
    if let Some(index) = number("JOB_COMPLETION_INDEX")? {
        let count = number(SHARDS)?;
        let count = count.ok_or(format!(
            "JOB_COMPLETION_INDEX is set, and {SHARDS} is not: give it the `completions` of the job"
        ))?;
        return Ok((Shard::new(index, count)?, None));
    }
    if let Some(index) = number("AWS_BATCH_JOB_ARRAY_INDEX")? {
        let shard = Shard::new(index, count("AWS_BATCH_JOB_ARRAY_SIZE")?)?;
        // The id of a child is that of the array with `:index`.
        let name = get("AWS_BATCH_JOB_ID").and_then(|id| id.split(':').next().map(str::to_owned));
        return Ok((shard, name));
    }
    if let Some(task) = number("SLURM_ARRAY_TASK_ID")? {
        let all = number("SLURM_ARRAY_TASK_COUNT")?;
        let first = match number(SHARDS)? {
            // Tasks that are submitted again alone keep their numbers, which then begin at 0.
            Some(count) if all != Some(count) => 0,
            _ => number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0),
        };
        if number("SLURM_ARRAY_TASK_STEP")?.is_some_and(|step| step > 1) {
            return Err(
                "SLURM_ARRAY_TASK_STEP is not 1: submit the array without a step, as --array=0-3".into(),
            );
        }
        let index = task
            .checked_sub(first)
            .ok_or("SLURM_ARRAY_TASK_ID is below SLURM_ARRAY_TASK_MIN")?;
        return Ok((
            Shard::new(index, count("SLURM_ARRAY_TASK_COUNT")?)?,
            get("SLURM_ARRAY_JOB_ID"),
        ));
    }
    Err("none of JOB_COMPLETION_INDEX, AWS_BATCH_JOB_ARRAY_INDEX and SLURM_ARRAY_TASK_ID is set".into())
}

/// A day of a plan, as `backfill --dry-run --json` prints it.
#[derive(Deserialize)]
struct PlannedDay {
    date: NaiveDate,
    space_id: SpaceId,
    bytes: u64,
}

/// Reads the bytes of recordings by day from a plan.
///
/// # Errors
/// `Usage` if the file can't be read or is no plan.
pub fn read_plan(path: &Path) -> Result<Arc<RecordedBytes>> {
    let wrong = |message: String| {
        Error::new(ErrorKind::Usage, format!("--plan {}", path.display()), message)
            .hint("give it what `telelake backfill --dry-run --json` prints for the same dates")
    };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let days: Vec<PlannedDay> =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("is no plan: {error}")))?;
    let days = days
        .into_iter()
        .map(|day| (DayId::new(day.date, day.space_id), day.bytes));
    Ok(Arc::new(days.collect()))
}

/// A plan by whose bytes the days are divided.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlanArgs {
    /// With --shard: divide the days also by the bytes of their recordings, as a plan of `backfill --dry-run --json` has
    /// them. All shards must get the same plan
    #[arg(long, value_name = "FILE", requires = "shard")]
    plan: Option<PathBuf>,
}

impl PlanArgs {
    /// Adds the plan to the shard.
    ///
    /// # Errors
    /// As [`read_plan`].
    pub fn add_to(&self, shard: Option<JobShard>) -> Result<Option<JobShard>> {
        match (shard, &self.plan) {
            (Some(shard), Some(path)) => Ok(Some(JobShard {
                recorded: read_plan(path)?,
                ..shard
            })),
            (shard, _) => Ok(shard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)]) -> std::result::Result<(String, Option<String>), String> {
        let get = |name: &str| {
            let of_name = variables.iter().find(|(other, _)| *other == name);
            of_name.map(|(_, value)| (*value).to_owned())
        };
        of_engine(get).map(|(shard, name)| (shard.to_string(), name))
    }

    #[test]
    fn the_shard_is_that_of_the_engine() {
        let kubernetes = [("JOB_COMPLETION_INDEX", "2"), ("TELELAKE_SHARDS", "7")];
        assert_eq!(auto(&kubernetes), Ok(("2/7".into(), None)));
        let batch = [
            ("AWS_BATCH_JOB_ARRAY_INDEX", "0"),
            ("AWS_BATCH_JOB_ARRAY_SIZE", "3"),
            ("AWS_BATCH_JOB_ID", "0b7a:0"),
        ];
        assert_eq!(auto(&batch), Ok(("0/3".into(), Some("0b7a".into()))));
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "4"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "1"),
            ("SLURM_ARRAY_JOB_ID", "77"),
        ];
        assert_eq!(auto(&slurm), Ok(("3/4".into(), Some("77".into()))));
        let again = [
            ("SLURM_ARRAY_TASK_ID", "2"),
            ("SLURM_ARRAY_TASK_MIN", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "1"),
            ("TELELAKE_SHARDS", "4"),
        ];
        assert_eq!(
            auto(&again),
            Ok(("2/4".into(), None)),
            "a single task that is submitted again"
        );
    }

    #[test]
    fn variables_that_give_no_shard_are_named() {
        let named = |variables: &[(&str, &str)]| auto(variables).expect_err("no shard");
        assert!(named(&[]).contains("AWS_BATCH_JOB_ARRAY_INDEX"));
        assert!(named(&[("JOB_COMPLETION_INDEX", "1")]).contains("TELELAKE_SHARDS"));
        assert!(named(&[("JOB_COMPLETION_INDEX", "x"), ("TELELAKE_SHARDS", "2")]).contains("no number: x"));
        assert!(named(&[("AWS_BATCH_JOB_ARRAY_INDEX", "1")]).contains("AWS_BATCH_JOB_ARRAY_SIZE"));
        assert!(
            named(&[("SLURM_ARRAY_TASK_ID", "9"), ("SLURM_ARRAY_TASK_COUNT", "4")])
                .contains("no shard 9 of 4")
        );
        let stepped = [
            ("SLURM_ARRAY_TASK_ID", "4"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert!(named(&stepped).contains("SLURM_ARRAY_TASK_STEP"));
    }
}

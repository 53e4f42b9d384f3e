//! The shards of a job that several processes do together. Each shard notes its begin and its end in the lake, so that the
//! last one to end does once what belongs to the whole lake, and `status` shows the job as a whole.
//!
//! If a shard never ends, nobody does it, and the next run makes it up, because all of it compares the lake as a whole.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::lake::key;
use crate::pipeline::job::ShardOfJob;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::runs::read_run;
use crate::pipeline::summary::{Outcome, Problem, ProblemKind, Summary};
use crate::sanitize::escaped;
use crate::store::json::{get_json, to_json, update_json};
use crate::store::{Condition, Store};

/// The age from which the notes of a job are deleted, by the last of them.
const KEPT: TimeDelta = TimeDelta::days(35);
/// The age from which a listing that shards share is deleted, if its job never ended.
const LISTS_KEPT: TimeDelta = TimeDelta::days(1);
/// The time within which shards of one job end. An older end is that of an earlier time that the same job was given.
const ONE_JOB: TimeDelta = TimeDelta::days(7);
/// Notes read at once.
const READ_AT_ONCE: usize = 16;
/// Shards that have not begun and are named.
const NAMED: usize = 8;

/// The note of a shard that has begun.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    run: String,
    count: u32,
    at: DateTime<Utc>,
}

/// The end of a shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct End {
    run: String,
    at: DateTime<Utc>,
    /// The digest of the assignment that the shard used.
    assignment: String,
}

/// The shards of a job that have ended.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ended {
    shards: BTreeMap<u32, End>,
}

impl Ended {
    /// True if all of `count` shards have ended.
    fn is_whole(&self, count: u32) -> bool {
        self.shards.range(..count).count() as u64 == u64::from(count)
    }

    /// True if all shards cut the days alike, as far as they ended for the same job.
    fn agree(&self) -> bool {
        let Some(last) = self.shards.values().map(|end| end.at).max() else {
            return true;
        };
        let same = self.shards.values().filter(|end| last - end.at <= ONE_JOB);
        let digests: BTreeSet<_> = same.map(|end| &end.assignment).collect();
        digests.len() <= 1
    }

    /// True if the latest run of a shard has ended.
    fn has(&self, index: u32, begun: &Begun) -> bool {
        self.shards.get(&index).is_some_and(|end| end.run == begun.run)
    }
}

/// Notes that a shard has begun.
pub(crate) async fn begin(run: &RunContext, summary: &Summary) -> Result<()> {
    let Some(shard) = &summary.shard else {
        return Ok(());
    };
    let begun = Begun {
        run: summary.id.clone(),
        count: shard.count,
        at: run.now,
    };
    let key = key::shard(&shard.job, shard.index);
    run.store.put(&key, to_json(&begun)?, Condition::Any).await?;
    Ok(())
}

/// Notes that a shard has done all of its days, whatever failed of them. `shard.last` of the summary then says if all
/// shards of the job have ended.
pub(crate) async fn end(run: &RunContext, assignment: String, summary: &mut Summary) -> Result<()> {
    let Some(shard) = summary.shard.clone() else {
        return Ok(());
    };
    let end = End {
        run: summary.id.clone(),
        at: Utc::now(),
        assignment,
    };
    let note = |ended: &mut Ended| drop(ended.shards.insert(shard.index, end.clone()));
    let ended = update_json(&*run.store, &key::ended_shards(&shard.job), note)
        .await?
        .value;
    if !ended.is_whole(shard.count) {
        return Ok(());
    }
    // The job may have been given again: then shards that have ended before are at work.
    let keys = run.store.list(&key::shard_folder(&shard.job)).await?;
    let begun = begun(&*run.store, &shard.job, keys.into_iter().map(|object| object.key)).await?;
    let is_last = begun
        .iter()
        .all(|(index, begun)| *index >= shard.count || ended.has(*index, begun));
    if let Some(of_summary) = &mut summary.shard {
        of_summary.last = is_last;
    }
    if is_last && !ended.agree() {
        let message = format!(
            "the shards of the job {} saw different spaces or plans, so that days may belong to none of them: give the job again",
            shard.job
        );
        summary.fail(Problem::new(ProblemKind::ShardsDiffer, message));
    }
    Ok(())
}

/// The notes of shards that have begun, of some keys of a job, in order.
async fn begun(
    store: &dyn Store,
    job: &str,
    keys: impl Iterator<Item = String>,
) -> Result<Vec<(u32, Begun)>> {
    let folder = key::shard_folder(job);
    let numbered = keys.filter_map(|key| {
        let name = key.strip_prefix(&folder)?.strip_suffix(".json")?;
        Some((name.parse::<u32>().ok()?, key))
    });
    let reading = stream::iter(numbered)
        .map(|(index, key)| async move {
            let begun = get_json::<Begun>(store, &key).await?;
            Ok::<_, crate::Error>(begun.map(|(begun, _)| (index, begun)))
        })
        .buffered(READ_AT_ONCE);
    let found: Vec<_> = reading.try_collect().await?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_by_key(|(index, _)| *index);
    Ok(found)
}

/// Deletes the listings that the shards of a job have shared once the job is done, those of jobs that never end, and the notes of
/// jobs of long ago. A failure is left to the next run.
pub(crate) async fn tidy(run: &RunContext, done: Option<&ShardOfJob>) {
    let own = done.map(|shard| key::shared_lists(&shard.job));
    let is_older = |at: Option<DateTime<Utc>>, age| at.is_some_and(|at| run.now - at > age);
    let tidied = async {
        let mut jobs: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for object in run.store.list(key::SHARDS).await? {
            if object.key.contains("/lists/") {
                let is_own = own.as_ref().is_some_and(|own| object.key.starts_with(own));
                if is_own || is_older(object.modified, LISTS_KEPT) {
                    run.store.delete(&object.key).await?;
                }
            } else {
                jobs.entry(job_of(&object.key).to_owned())
                    .or_default()
                    .push(object);
            }
        }
        for notes in jobs.into_values() {
            if notes.iter().all(|note| is_older(note.modified, KEPT)) {
                for note in notes {
                    run.store.delete(&note.key).await?;
                }
            }
        }
        Ok::<_, crate::Error>(())
    };
    if let Err(error) = tidied.await {
        tracing::debug!(%error, "the notes of old jobs could not be deleted");
    }
}

/// The segment of the job in the key of a note.
fn job_of(key: &str) -> &str {
    let rest = key.strip_prefix(key::SHARDS).unwrap_or(key);
    rest.split_once('/').map_or(rest, |(job, _)| job)
}

/// A job that several processes do together, as its notes in the lake tell it.
#[derive(Debug, Serialize)]
pub struct SharedJob {
    /// The id that its shards have in common.
    pub job: String,
    /// The number of shards.
    pub count: u32,
    /// The begin of the first shard.
    pub began_at: DateTime<Utc>,
    /// True if all shards have ended.
    pub whole: bool,
    /// True if the shards saw different spaces or plans, so that days may belong to none of them.
    pub differ: bool,
    /// The shards that have begun, by their place.
    pub shards: BTreeMap<u32, SharedJobShard>,
    /// The shards that have not begun.
    pub missing: Vec<u32>,
}

/// The latest run of a shard.
#[derive(Debug, Serialize)]
pub struct SharedJobShard {
    /// The id of the run.
    pub run: String,
    /// Its outcome; `None` if its summary is gone.
    pub outcome: Option<Outcome>,
    /// Days.
    pub days: u64,
    /// Calls.
    pub calls: u64,
    /// Failures.
    pub failed: u64,
    /// The reason why the outcome is not `done`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The latest jobs with shards, newest first.
///
/// # Errors
/// Any error of the store.
pub async fn shared_jobs(store: &dyn Store, now: DateTime<Utc>, most: usize) -> Result<Vec<SharedJob>> {
    let mut keys: BTreeMap<String, (Option<DateTime<Utc>>, Vec<String>)> = BTreeMap::new();
    for object in store.list(key::SHARDS).await? {
        let (latest, of_job) = keys.entry(job_of(&object.key).to_owned()).or_default();
        *latest = (*latest).max(object.modified);
        of_job.push(object.key);
    }
    let mut latest: Vec<_> = keys.into_iter().collect();
    latest.sort_by_key(|(_, (latest, _))| std::cmp::Reverse(*latest));
    let mut jobs = Vec::new();
    for (segment, (_, keys)) in latest.into_iter().take(most) {
        jobs.extend(shared_job(store, now, &segment, keys).await?);
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.began_at));
    Ok(jobs)
}

async fn shared_job(
    store: &dyn Store,
    now: DateTime<Utc>,
    segment: &str,
    keys: Vec<String>,
) -> Result<Option<SharedJob>> {
    let job = key::unsegment(segment).unwrap_or_else(|| segment.to_owned());
    let begun = begun(store, &job, keys.into_iter()).await?;
    let reading = stream::iter(begun)
        .map(|(index, begun)| async move {
            let run = read_run(store, &begun.run, now).await?;
            Ok::<_, crate::Error>((index, begun, run))
        })
        .buffered(READ_AT_ONCE);
    let begun: Vec<_> = reading.try_collect().await?;
    let Some((_, first, _)) = begun.iter().min_by_key(|(_, begun, _)| begun.at) else {
        return Ok(None);
    };
    let (count, began_at) = (first.count, first.at);
    let ended = get_json::<Ended>(store, &key::ended_shards(&job)).await?;
    let ended = ended.map(|(ended, _)| ended).unwrap_or_default();
    let begun_have_ended = begun.iter().all(|(index, begun, _)| ended.has(*index, begun));
    let shards: BTreeMap<_, _> = begun
        .into_iter()
        .map(|(index, begun, run)| (index, SharedJobShard::of(begun, run)))
        .collect();
    Ok(Some(SharedJob {
        missing: (0..count).filter(|index| !shards.contains_key(index)).collect(),
        whole: ended.is_whole(count) && begun_have_ended,
        differ: !ended.agree(),
        job,
        count,
        began_at,
        shards,
    }))
}

impl SharedJob {
    /// The job in a line for people, and a line for each shard that is not done.
    pub fn for_people(&self) -> String {
        let ended = self.shards.values().filter(|shard| shard.has_ended()).count();
        let state = match self.whole {
            true => "all shards have ended".to_owned(),
            false => format!("{ended} of {} shards have ended", self.count),
        };
        let sum = |of: fn(&SharedJobShard) -> u64| self.shards.values().map(of).sum::<u64>();
        let began = self.began_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut text = format!(
            "{} {began}: {state}   {} days, {} calls, {} failures\n",
            escaped(&self.job),
            sum(|shard| shard.days),
            sum(|shard| shard.calls),
            sum(|shard| shard.failed)
        );
        for (index, shard) in &self.shards {
            let state = match shard.outcome {
                Some(Outcome::Done) => continue,
                Some(outcome) => outcome.for_people(),
                None => "its summary is gone",
            };
            let cause = shard
                .cause
                .as_ref()
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            text.push_str(&format!(
                "    shard {index}/{}: {state}{cause}   [{}]\n",
                self.count, shard.run
            ));
        }
        if !self.missing.is_empty() {
            let named: Vec<_> = self.missing.iter().take(NAMED).map(ToString::to_string).collect();
            let more = self.missing.len().saturating_sub(NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            text.push_str(&format!("    not begun yet: shards {}{more}\n", named.join(", ")));
        }
        if self.differ {
            text.push_str(
                "    the shards saw different spaces or plans: days may be missing; give the job again\n",
            );
        }
        let open =
            (0..self.count).filter(|index| !self.shards.get(index).is_some_and(SharedJobShard::has_ended));
        if let Some(index) = open.into_iter().next().filter(|_| !self.whole) {
            text.push_str(&format!(
                "    start them again with the same dates, as `--shard {index}/{}`; or the job without --shard does the rest\n",
                self.count
            ));
        }
        text
    }
}

impl SharedJobShard {
    /// True if the latest run of the shard has done its days, whatever failed of them.
    fn has_ended(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Done | Outcome::Partial))
    }

    fn of(begun: Begun, run: Option<Summary>) -> Self {
        Self {
            run: begun.run,
            outcome: run.as_ref().map(|run| run.outcome),
            days: run.as_ref().map_or(0, |run| run.counts.days),
            calls: run.as_ref().map_or(0, |run| run.counts.calls),
            failed: run.as_ref().map_or(0, |run| run.failed.len() as u64),
            cause: run.and_then(|run| run.cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(at: &str, assignment: &str) -> End {
        End {
            run: "run".into(),
            at: at.parse().expect("an instant"),
            assignment: assignment.into(),
        }
    }

    #[test]
    fn a_job_is_whole_once_all_shards_have_ended_and_agrees_if_they_cut_alike() {
        let mut ended = Ended::default();
        ended.shards.insert(2, end("2026-11-22T02:00:00Z", "a"));
        ended.shards.insert(0, end("2026-11-22T02:10:00Z", "a"));
        assert!(!ended.is_whole(3));
        ended.shards.insert(1, end("2026-11-25T02:00:00Z", "a"));
        assert!(ended.is_whole(3) && ended.agree());
        ended.shards.insert(1, end("2026-12-25T02:00:00Z", "b"));
        assert!(ended.agree(), "the other ends are those of the month before");
        ended.shards.insert(0, end("2026-12-25T02:00:00Z", "c"));
        assert!(!ended.agree());
        let begun = |run: &str| Begun {
            run: run.into(),
            count: 3,
            at: Utc::now(),
        };
        assert!(
            ended.has(0, &begun("run"))
                && !ended.has(0, &begun("a later one"))
                && !ended.has(3, &begun("run"))
        );
    }
}

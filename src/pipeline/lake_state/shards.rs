//! The shards of a job that several processes do together. Each shard notes its begin and its end in the lake, so that the
//! last one to end does once what belongs to the whole lake, and `status` shows the job as a whole.
//!
//! If a shard never ends, nobody does it, and the next run makes it up, because all of it compares the lake as a whole.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::lake::key;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::runs::read_run;
use crate::pipeline::summary::{Outcome, Problem, ProblemKind, Summary};
use crate::sanitize::escaped;
use crate::store::json::{get_json, to_json, update_json};
use crate::store::{Condition, Store};

/// The age from which the notes of a job are deleted, by the last of them.
const KEPT: TimeDelta = TimeDelta::days(35);
/// The age from which a job whose shards have all ended is another job with the same dates.
const SAME_JOB: TimeDelta = TimeDelta::days(1);
/// Notes read at once.
const READ_AT_ONCE: usize = 16;
/// Shards that never began and are named.
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

    /// Notes the end of a shard. If the same job was done before, this is the first end of its next time.
    fn note(&mut self, index: u32, count: u32, end: End) {
        let last = self.shards.values().map(|end| end.at).max();
        if self.is_whole(count) && last.is_some_and(|last| end.at - last > SAME_JOB) {
            self.shards.clear();
        }
        self.shards.insert(index, end);
    }

    /// True if all shards cut the days alike.
    fn agree(&self) -> bool {
        let mut digests = self.shards.values().map(|end| &end.assignment);
        let first = digests.next();
        digests.all(|other| Some(other) == first)
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
    let note = |ended: &mut Ended| ended.note(shard.index, shard.count, end.clone());
    let ended = update_json(&*run.store, &key::ended_shards(&shard.job), note).await?;
    let ended = ended.value;
    if let Some(shard) = &mut summary.shard {
        shard.last = ended.is_whole(shard.count);
        if shard.last && !ended.agree() {
            let message = format!(
                "the shards of the job {} saw different spaces, so that days may belong to none of them: give the job again",
                shard.job
            );
            summary.warn(Problem::new(ProblemKind::ShardsDiffer, message));
        }
    }
    Ok(())
}

/// Deletes the listings that the shards of a job have shared, and the notes of jobs of long ago. A failure is left to the next
/// run.
pub(crate) async fn tidy(run: &RunContext, job: &str) {
    let tidied = async {
        for object in run.store.list(&key::shared_lists(job)).await? {
            run.store.delete(&object.key).await?;
        }
        let mut jobs: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for object in run.store.list(key::SHARDS).await? {
            jobs.entry(job_of(&object.key).to_owned())
                .or_default()
                .push(object);
        }
        let is_old = |at: Option<DateTime<Utc>>| at.is_some_and(|at| run.now - at > KEPT);
        for notes in jobs.into_values() {
            if notes.iter().all(|note| is_old(note.modified)) {
                for note in notes {
                    run.delete(&note.key).await?;
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
    /// Days, calls and failures of the run.
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
    let folder = format!("{}{segment}/", key::SHARDS);
    let numbered = keys.into_iter().filter_map(|key| {
        let name = key.strip_prefix(&folder)?.strip_suffix(".json")?;
        Some((name.parse::<u32>().ok()?, key))
    });
    let reading = stream::iter(numbered)
        .map(|(index, key)| async move {
            let Some((begun, _)) = get_json::<Begun>(store, &key).await? else {
                return Ok(None);
            };
            let run = read_run(store, &begun.run, now).await?;
            Ok::<_, crate::Error>(Some((index, begun, run)))
        })
        .buffered(READ_AT_ONCE);
    let begun: Vec<_> = reading.try_collect().await?;
    let begun: Vec<_> = begun.into_iter().flatten().collect();
    let Some((_, first, _)) = begun.iter().min_by_key(|(_, begun, _)| begun.at) else {
        return Ok(None);
    };
    let (count, began_at) = (first.count, first.at);
    let job = key::unsegment(segment).unwrap_or_else(|| segment.to_owned());
    let ended = get_json::<Ended>(store, &key::ended_shards(&job)).await?;
    let ended = ended.map(|(ended, _)| ended).unwrap_or_default();
    let shards: BTreeMap<_, _> = begun
        .into_iter()
        .map(|(index, begun, run)| (index, SharedJobShard::of(begun, run)))
        .collect();
    Ok(Some(SharedJob {
        missing: (0..count).filter(|index| !shards.contains_key(index)).collect(),
        whole: ended.is_whole(count),
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
            text.push_str(&format!("    never began: shards {}{more}\n", named.join(", ")));
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
    fn the_last_shard_to_end_makes_the_job_whole_and_a_later_time_begins_anew() {
        let mut ended = Ended::default();
        ended.note(2, 3, end("2026-11-22T02:00:00Z", "a"));
        ended.note(0, 3, end("2026-11-22T02:10:00Z", "a"));
        ended.note(0, 3, end("2026-11-22T02:20:00Z", "a"));
        assert!(!ended.is_whole(3), "one shard twice");
        ended.note(1, 3, end("2026-11-25T02:00:00Z", "a"));
        assert!(
            ended.is_whole(3) && ended.agree(),
            "a shard that comes days later"
        );
        ended.note(0, 3, end("2026-11-25T03:00:00Z", "a"));
        assert!(ended.is_whole(3), "a shard that is retried afterwards");
        ended.note(1, 3, end("2026-12-25T02:00:00Z", "b"));
        assert!(!ended.is_whole(3), "the job is given again a month later");
        ended.note(0, 3, end("2026-12-25T02:00:00Z", "b"));
        ended.note(2, 3, end("2026-12-25T02:00:00Z", "c"));
        assert!(ended.is_whole(3) && !ended.agree());
    }
}

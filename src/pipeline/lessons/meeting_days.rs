//! Which days have calls of which meetings, however far apart they lie: an object a month, read once a run.
//!
//! A day is noted before its manifest is committed, so that no day of a meeting is missed. A day too many does no harm:
//! its manifest says what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{Built, Manifest};
use crate::pipeline::lessons::import::Marker;
use crate::pipeline::lessons::lesson_days::Shelving;
use crate::pipeline::run_context::RunContext;
use crate::store::Condition;
use crate::store::json::{get_json, to_json};
use crate::{ErrorKind, Result};

/// Objects read at once.
const READ_AT_ONCE: usize = 8;
/// Lost conditional writes after which a meeting too many is left where it is.
const TRIES: usize = 3;

/// A month as it is written: the marks of each day's meetings, by date and space.
type Month = BTreeMap<NaiveDate, BTreeMap<SpaceId, BTreeSet<String>>>;

/// See the module.
#[derive(Default)]
pub(crate) struct MeetingDays {
    known: Mutex<Option<DaysByMark>>,
    touched: Mutex<Touched>,
}

/// The meetings whose other days must be looked at, as a day of them has changed.
#[derive(Default)]
struct Touched {
    marks: BTreeSet<u64>,
    /// The markers that say so to later runs, should this one be killed before it has looked.
    markers: Vec<String>,
}

/// What was read: eight bytes stand for a meeting's id.
#[derive(Default)]
struct DaysByMark {
    days: Vec<DayId>,
    numbers: BTreeMap<DayId, u32>,
    marks: BTreeSet<(u64, u32)>,
    of_day: BTreeMap<u32, BTreeSet<u64>>,
}

impl DaysByMark {
    fn set(&mut self, day: &DayId, marks: BTreeSet<u64>) {
        let number = match self.numbers.get(day) {
            Some(number) => *number,
            None => {
                // There are fewer days than that since the beginning of time.
                let number = u32::try_from(self.days.len()).unwrap_or(u32::MAX);
                self.days.push(day.clone());
                self.numbers.insert(day.clone(), number);
                number
            }
        };
        for mark in self.of_day.remove(&number).unwrap_or_default() {
            self.marks.remove(&(mark, number));
        }
        self.marks.extend(marks.iter().map(|mark| (*mark, number)));
        self.of_day.insert(number, marks);
    }

    fn of_day(&self, day: &DayId) -> BTreeSet<u64> {
        let number = self.numbers.get(day);
        number
            .and_then(|number| self.of_day.get(number))
            .cloned()
            .unwrap_or_default()
    }

    fn days_of(&self, mark: u64) -> impl Iterator<Item = &DayId> {
        let numbers = self.marks.range((mark, 0)..=(mark, u32::MAX));
        numbers.filter_map(|(_, number)| self.days.get(*number as usize))
    }

    fn take(&mut self, month: Month) {
        for (date, spaces) in month {
            for (space, marks) in spaces {
                let marks = marks.iter().filter_map(|mark| key::read_mark(mark)).collect();
                self.set(&DayId { date, space }, marks);
            }
        }
    }
}

impl MeetingDays {
    /// The days that have calls of some meetings, by their marks.
    ///
    /// # Errors
    /// Of the store.
    pub async fn days_of(&self, run: &RunContext, marks: &BTreeSet<u64>) -> Result<BTreeSet<DayId>> {
        let mut known = self.known.lock().await;
        let known = load(run, &mut known).await?;
        Ok(marks
            .iter()
            .flat_map(|mark| known.days_of(*mark).cloned())
            .collect())
    }

    /// Takes note that a day of some meetings changes: their other days must be looked at. Comes before the change is
    /// committed, so that a later run looks where this one is killed.
    ///
    /// # Errors
    /// Of the store.
    pub async fn touch(&self, run: &RunContext, marks: BTreeSet<u64>) -> Result<()> {
        if marks.is_empty() {
            return Ok(());
        }
        let id = format!(
            "{}-{:06x}",
            run.now.format("%Y%m%dT%H%M%S%6fZ"),
            fastrand::u32(..0x0100_0000)
        );
        let key = key::meta_changed(&id);
        let marker = Marker {
            meetings: marks.iter().map(|mark| key::mark_text(*mark)).collect(),
            ..Marker::default()
        };
        run.put(&key, to_json(&marker)?, Condition::Any).await?;
        let mut touched = self.touched.lock().await;
        touched.marks.extend(marks);
        touched.markers.push(key);
        Ok(())
    }

    /// The meetings that were touched since this was last asked.
    pub async fn take_touched(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.touched.lock().await.marks)
    }

    /// The markers of the meetings whose other days were looked at.
    pub async fn take_markers(&self) -> Vec<String> {
        std::mem::take(&mut self.touched.lock().await.markers)
    }

    /// Notes the meetings of a day that is being built, beside those that it is noted for.
    ///
    /// # Errors
    /// Of the store.
    pub async fn add(&self, run: &RunContext, day: &DayId, built: &Built) -> Result<()> {
        let marks = marks(built);
        if marks.is_empty() {
            return Ok(());
        }
        let mut known = self.known.lock().await;
        let known = load(run, &mut known).await?;
        if known.of_day(day).is_superset(&marks) {
            return Ok(());
        }
        let mut writer = Shelving::new(&*run.store, run.conditional.load(Ordering::Relaxed));
        let added = writer
            .update(&key::meeting_days(day.date), |month: &mut Month| {
                let of_day = month.entry(day.date).or_default().entry(day.space.clone()).or_default();
                of_day.extend(marks.iter().map(|mark| key::mark_text(*mark)));
            })
            .await;
        run.writes.fetch_add(writer.writes, Ordering::Relaxed);
        known.take(added?);
        Ok(())
    }

    /// Notes of a day that was built no other meetings than it has, unless another process builds it by now.
    ///
    /// # Errors
    /// Of the store.
    pub async fn settle(&self, run: &RunContext, day: &DayId, built: &Built) -> Result<()> {
        let mut known = self.known.lock().await;
        let exact = marks(built);
        if exact.is_empty() && known.is_none() {
            // A lake without meetings takes no request.
            return Ok(());
        }
        let known = load(run, &mut known).await?;
        let key = key::meeting_days(day.date);
        for _ in 0..TRIES {
            if known.of_day(day) == exact {
                return Ok(());
            }
            // The month before the manifest: who notes more has claimed the day before.
            let read = get_json::<Month>(&*run.store, &key).await?;
            let manifest = get_json::<Manifest>(&*run.store, &key::manifest(day.date, &day.space)).await?;
            let stands = manifest.is_some_and(|(manifest, _)| {
                manifest.building.is_none() && manifest.built.is_some_and(|built| marks_are(&built, &exact))
            });
            let (mut month, version) =
                read.map_or((Month::new(), None), |(month, version)| (month, Some(version)));
            if !stands {
                known.take(month);
                return Ok(());
            }
            let gone = known.of_day(day).into_iter().filter(|mark| !exact.contains(mark));
            let elsewhere = gone.filter(|mark| known.days_of(*mark).any(|other| other != day));
            self.touch(run, elsewhere.collect()).await?;
            set(&mut month, day, &exact);
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match run.put(&key, to_json(&month)?, condition).await {
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                written => {
                    written?;
                    known.set(day, BTreeSet::new());
                    known.take(month);
                }
            }
        }
        Ok(())
    }
}

fn set(month: &mut Month, day: &DayId, marks: &BTreeSet<u64>) {
    let spaces = month.entry(day.date).or_default();
    match marks.is_empty() {
        true => drop(spaces.remove(&day.space)),
        false => {
            let marks = marks.iter().map(|mark| key::mark_text(*mark)).collect();
            spaces.insert(day.space.clone(), marks);
        }
    }
    if spaces.is_empty() {
        month.remove(&day.date);
    }
}

fn marks(built: &Built) -> BTreeSet<u64> {
    built.meetings.keys().map(|meeting| key::mark(meeting)).collect()
}

fn marks_are(built: &Built, exact: &BTreeSet<u64>) -> bool {
    marks(built) == *exact
}

/// What is known, read when it is first asked for. What could not be read is asked for again.
async fn load<'k>(run: &RunContext, known: &'k mut Option<DaysByMark>) -> Result<&'k mut DaysByMark> {
    if known.is_none() {
        let months: Vec<_> = stream::iter(run.store.list(key::MEETING_DAYS).await?)
            .map(|entry| async move { get_json::<Month>(&*run.store, &entry.key).await })
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await?;
        let mut read = DaysByMark::default();
        for (month, _) in months.into_iter().flatten() {
            read.take(month);
        }
        *known = Some(read);
    }
    Ok(known.get_or_insert_default())
}

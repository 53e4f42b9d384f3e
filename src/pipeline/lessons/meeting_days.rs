//! The days that have calls of each meeting, however far apart they are: one object a month, read once a run.
//!
//! A day is added before its manifest is committed, so that no day of a meeting is missed. A day too many does no harm,
//! because its manifest decides.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::Mutex;

use crate::ids::DayId;
use crate::lake::key;
use crate::lake::manifest::{Built, Manifest};
use crate::pipeline::lessons::import::Marker;
use crate::pipeline::lessons::lake::LessonLake;
use crate::pipeline::lessons::meeting_months::{MeetingMonth, MeetingMonths, MonthCopies};
use crate::store::Condition;
use crate::store::json::{get_json, to_json};
use crate::{ErrorKind, Result};

/// Lost conditional writes after which a meeting too many is left in place.
const TRIES: usize = 3;

/// Stands in the index for "the day has calls without a report", so that neighbour days read only such manifests. No meeting
/// has it, but for one in 2⁶⁴.
const UNREPORTED: u64 = 0;

/// The index of days by meeting, and the meetings that this run has touched.
#[derive(Default)]
pub(crate) struct MeetingDays {
    known: Mutex<Option<DaysByMark>>,
    touched: Mutex<Touched>,
}

/// The meetings that a changed day has, so that their other days must be checked.
#[derive(Default)]
struct Touched {
    marks: BTreeSet<u64>,
    /// The markers that tell later runs, should this one be killed before the check.
    markers: Vec<String>,
}

/// All months, in memory: a mark of eight bytes stands for a meeting's id.
#[derive(Default)]
struct DaysByMark {
    days: Vec<DayId>,
    numbers: BTreeMap<DayId, u32>,
    marks: BTreeSet<(u64, u32)>,
    of_day: BTreeMap<u32, BTreeSet<u64>>,
    /// The copies of months that the store lacks.
    copies: Option<MonthCopies>,
}

impl DaysByMark {
    fn set(&mut self, day: &DayId, marks: BTreeSet<u64>) {
        let number = match self.numbers.get(day) {
            Some(number) => *number,
            None => {
                // There are fewer days than this since the beginning of time.
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

    fn take(&mut self, month: MeetingMonth) {
        for (date, spaces) in month {
            for (space, marks) in spaces {
                let marks = marks.iter().filter_map(|mark| key::read_mark(mark)).collect();
                self.set(&DayId { date, space }, marks);
            }
        }
    }
}

impl MeetingDays {
    /// Forgets the index that was read, because other processes have changed it.
    pub async fn read_again(&self) {
        *self.known.lock().await = None;
    }

    /// The days that have calls of some meetings, given by their marks.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn days_of(&self, lake: &LessonLake, marks: &BTreeSet<u64>) -> Result<BTreeSet<DayId>> {
        let mut known = self.known.lock().await;
        let known = load(lake, &mut known).await?;
        Ok(marks
            .iter()
            .flat_map(|mark| known.days_of(*mark).cloned())
            .collect())
    }

    /// The dates before and after a day, in its space, that have calls without a report.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn unreported_beside(&self, lake: &LessonLake, day: &DayId) -> Result<BTreeSet<DayId>> {
        let mut known = self.known.lock().await;
        let known = load(lake, &mut known).await?;
        let has_unreported = |other: &DayId| known.of_day(other).contains(&UNREPORTED);
        Ok(beside(day).filter(has_unreported).collect())
    }

    /// The dates before and after a day, in its space, that have calls of a meeting.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn held_beside(&self, lake: &LessonLake, day: &DayId) -> Result<BTreeSet<DayId>> {
        let mut known = self.known.lock().await;
        let known = load(lake, &mut known).await?;
        let has_meeting = |other: &DayId| known.of_day(other).iter().any(|mark| *mark != UNREPORTED);
        Ok(beside(day).filter(has_meeting).collect())
    }

    /// Records that a day of some meetings changes, so that their other days must be checked. It does so before the change
    /// is committed, so that a later run checks them if this one is killed.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn touch(&self, lake: &LessonLake, marks: BTreeSet<u64>) -> Result<()> {
        if marks.is_empty() {
            return Ok(());
        }
        let id = format!(
            "{}-{:06x}",
            lake.now.format("%Y%m%dT%H%M%S%6fZ"),
            fastrand::u32(..0x0100_0000)
        );
        let key = key::meta_changed(&id);
        let marker = Marker {
            meetings: marks.iter().map(|mark| key::mark_text(*mark)).collect(),
            ..Marker::default()
        };
        lake.put(&key, to_json(&marker)?, Condition::Any).await?;
        let mut touched = self.touched.lock().await;
        touched.marks.extend(marks);
        touched.markers.push(key);
        Ok(())
    }

    /// The meetings touched since the last call.
    pub async fn take_touched(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.touched.lock().await.marks)
    }

    /// The markers of the meetings whose other days were checked.
    pub async fn take_markers(&self) -> Vec<String> {
        std::mem::take(&mut self.touched.lock().await.markers)
    }

    /// Adds the meetings of a day that is being built to those that it already has.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn add(&self, lake: &LessonLake, day: &DayId, built: &Built) -> Result<()> {
        let marks = marks(built);
        if marks.is_empty() {
            return Ok(());
        }
        let mut known = self.known.lock().await;
        let known = load(lake, &mut known).await?;
        if known.of_day(day).is_superset(&marks) {
            return Ok(());
        }
        let writer = lake.writer();
        let added = writer
            .update(&key::meeting_days(day.date), |month: &mut MeetingMonth| {
                let of_day = month
                    .entry(day.date)
                    .or_default()
                    .entry(day.space.clone())
                    .or_default();
                of_day.extend(marks.iter().map(|mark| key::mark_text(*mark)));
            })
            .await;
        lake.count_writes(writer.writes());
        known.take(added?);
        Ok(())
    }

    /// Removes the meetings that a committed day no longer has, unless another process is building the day.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn prune(&self, lake: &LessonLake, day: &DayId, built: &Built) -> Result<()> {
        let mut known = self.known.lock().await;
        let exact = marks(built);
        if exact.is_empty() && known.is_none() {
            // A lake without meetings costs no request.
            return Ok(());
        }
        let known = load(lake, &mut known).await?;
        if let Some(copies) = known.copies.take() {
            lake.put(key::MEETING_MONTHS, to_json(&copies)?, Condition::Any)
                .await?;
        }
        let key = key::meeting_days(day.date);
        for _ in 0..TRIES {
            if known.of_day(day) == exact {
                return Ok(());
            }
            // Read the month before the manifest, because a process that adds meetings has claimed the day before.
            let read = get_json::<MeetingMonth>(&*lake.store, &key).await?;
            let manifest = get_json::<Manifest>(&*lake.store, &key::manifest(day.date, &day.space)).await?;
            let stands = manifest.is_some_and(|(manifest, _)| {
                manifest.building.is_none() && manifest.built.is_some_and(|built| marks_are(&built, &exact))
            });
            let (mut month, version) = read.map_or((MeetingMonth::new(), None), |(month, version)| {
                (month, Some(version))
            });
            if !stands {
                known.take(month);
                return Ok(());
            }
            let gone = known.of_day(day).into_iter();
            let gone = gone.filter(|mark| *mark != UNREPORTED && !exact.contains(mark));
            let elsewhere = gone.filter(|mark| known.days_of(*mark).any(|other| other != day));
            self.touch(lake, elsewhere.collect()).await?;
            set(&mut month, day, &exact);
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match lake.put(&key, to_json(&month)?, condition).await {
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

fn set(month: &mut MeetingMonth, day: &DayId, marks: &BTreeSet<u64>) {
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
    let unreported = (!built.unreported.is_empty()).then_some(UNREPORTED);
    let meetings = built.meetings.keys().map(|meeting| key::mark(meeting));
    meetings.chain(unreported).collect()
}

/// The dates before and after a day, in its space.
fn beside(day: &DayId) -> impl Iterator<Item = DayId> {
    let dates = [day.date.pred_opt(), day.date.succ_opt()];
    dates
        .into_iter()
        .flatten()
        .map(|date| DayId::new(date, day.space.clone()))
}

fn marks_are(built: &Built, exact: &BTreeSet<u64>) -> bool {
    marks(built) == *exact
}

/// The index, read when first needed. A read that failed is repeated by the next caller.
async fn load<'k>(lake: &LessonLake, known: &'k mut Option<DaysByMark>) -> Result<&'k mut DaysByMark> {
    if known.is_none() {
        let MeetingMonths { months, copies } = MeetingMonths::read(lake).await?;
        let mut read = DaysByMark {
            copies,
            ..DaysByMark::default()
        };
        for month in months {
            read.take(month);
        }
        *known = Some(read);
    }
    Ok(known.get_or_insert_default())
}

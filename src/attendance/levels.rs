//! The levels of the school's own hierarchy, by user and meeting, as the table `hierarchy` has them.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use bytes::Bytes;
use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::cut::Cut;
use super::day_rows::{AttendanceRow, entity};
use crate::Result;
use crate::lake::key;
use crate::lake::table::builtin::hierarchy as h;
use crate::store::{OptionalExt, Store};
use crate::tables::read_rows;

/// The most dates of the hierarchy that are in memory at once. Meetings of a day were scheduled for the day or for a
/// date near it.
const DATES_IN_MEMORY: usize = 4;
/// Files read at once: that of a date, and those of the dates after it, which are needed next.
const FILES_AT_ONCE: usize = 8;

/// Levels that have cuts of their own.
const OWN_CUTS: [&str; 2] = ["student_group", "lesson_course"];

/// The entities of each user in each meeting: positions in [`LevelCuts::entities`].
type EntitiesOfUsers = HashMap<(String, String), Vec<usize>>;

/// An entity of a level.
#[derive(Debug, Clone)]
struct LevelEntity {
    level: String,
    key: String,
    name: Option<String>,
}

/// The cuts by level, and the part of the table that is needed to make them.
#[derive(Debug)]
pub(super) struct LevelCuts {
    /// The cuts by the key of their level.
    pub cuts: BTreeMap<String, Cut>,
    /// The level that encloses each level.
    pub parents: BTreeMap<String, String>,
    entities: Vec<LevelEntity>,
    positions: HashMap<(String, String), usize>,
    /// The last dates that were used, the latest last.
    loaded: Vec<(NaiveDate, EntitiesOfUsers)>,
    /// The dates whose meetings are counted.
    period: RangeInclusive<NaiveDate>,
    /// Files that were read before they are needed; `None` for a date without a file.
    ahead: BTreeMap<NaiveDate, Option<Bytes>>,
    /// The last date that was read ahead.
    ahead_to: Option<NaiveDate>,
}

impl LevelCuts {
    /// No cuts yet.
    pub fn of(period: RangeInclusive<NaiveDate>) -> Self {
        Self {
            cuts: BTreeMap::new(),
            parents: BTreeMap::new(),
            entities: Vec::new(),
            positions: HashMap::new(),
            loaded: Vec::new(),
            period,
            ahead: BTreeMap::new(),
            ahead_to: None,
        }
    }

    /// Adds a visit to the entities of its user, which stand under a date of the hierarchy.
    pub async fn add(&mut self, store: &dyn Store, date: NaiveDate, row: &AttendanceRow) -> Result<()> {
        self.load(store, date).await?;
        let loaded = self.loaded.last().map(|(_, entities)| entities);
        let key = (row.meeting.clone(), row.user.clone());
        let found = loaded.and_then(|entities| entities.get(&key)).cloned();
        self.count(&found.unwrap_or_default(), row);
        Ok(())
    }

    /// Adds visits of meetings without a schedule: their levels may stand under any date, so all dates are read.
    pub async fn add_undated(&mut self, store: &dyn Store, rows: &[AttendanceRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut wanted: EntitiesOfUsers = rows
            .iter()
            .map(|row| ((row.meeting.clone(), row.user.clone()), Vec::new()))
            .collect();
        let listed = store.list(&format!("{}/", h::NAME)).await?.into_iter();
        let files = listed.filter(|file| file.key.ends_with(".parquet"));
        let mut reading = stream::iter(files)
            .map(|file| async move { store.read(&file.key).await.optional() })
            .buffered(FILES_AT_ONCE);
        while let Some(file) = reading.try_next().await? {
            let Some(file) = file else { continue };
            for (user, entities) in self.read(file)? {
                if let Some(known) = wanted.get_mut(&user) {
                    *known = entities;
                }
            }
        }
        for row in rows {
            let entities = wanted.get(&(row.meeting.clone(), row.user.clone()));
            self.count(&entities.cloned().unwrap_or_default(), row);
        }
        Ok(())
    }

    fn count(&mut self, entities: &[usize], row: &AttendanceRow) {
        for entity in entities.iter().filter_map(|at| self.entities.get(*at)) {
            let cut = self.cuts.entry(entity.level.clone()).or_default();
            let week = super::summary::week_of(row.date);
            cut.add(&entity.key, entity.name.as_deref(), &row.meeting, week, row.visit);
        }
    }

    /// Makes a date the last one of [`LevelCuts::loaded`].
    async fn load(&mut self, store: &dyn Store, date: NaiveDate) -> Result<()> {
        if let Some(at) = self.loaded.iter().position(|(loaded, _)| *loaded == date) {
            let known = self.loaded.remove(at);
            self.loaded.push(known);
            return Ok(());
        }
        let entities = match self.file(store, date).await? {
            Some(file) => self.read(file)?,
            None => EntitiesOfUsers::new(),
        };
        if self.loaded.len() == DATES_IN_MEMORY {
            self.loaded.remove(0);
        }
        self.loaded.push((date, entities));
        Ok(())
    }

    /// The file of a date. Unless it was read ahead, those of the dates after it are read with it.
    async fn file(&mut self, store: &dyn Store, date: NaiveDate) -> Result<Option<Bytes>> {
        if let Some(file) = self.ahead.remove(&date) {
            return Ok(file);
        }
        // A date outside of the period, or before the last ones, is an exception.
        let is_next = self.period.contains(&date) && self.ahead_to.is_none_or(|to| date > to);
        let count = if is_next { FILES_AT_ONCE } else { 1 };
        let dates = (0..count as u64).filter_map(|days| date.checked_add_days(Days::new(days)));
        let dates: Vec<NaiveDate> = dates
            .filter(|next| *next == date || self.period.contains(next))
            .collect();
        let last = dates.last().copied();
        let files: BTreeMap<NaiveDate, Option<Bytes>> = stream::iter(dates)
            .map(|date| async move {
                let file = store.read(&key::date_table(h::NAME, date)).await.optional()?;
                Ok::<_, crate::Error>((date, file))
            })
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        if is_next {
            self.ahead_to = last;
            self.ahead.clear();
        }
        self.ahead.extend(files);
        Ok(self.ahead.remove(&date).flatten())
    }

    /// Reads a file of the hierarchy.
    fn read(&mut self, file: Bytes) -> Result<EntitiesOfUsers> {
        const COLUMNS: [&str; 6] = [
            h::external_user_id,
            h::external_meeting_id,
            h::level,
            h::parent_level,
            h::entity_id,
            h::entity_name,
        ];
        let mut of_users = EntitiesOfUsers::new();
        for batch in read_rows(file, &COLUMNS)? {
            for row in 0..batch.rows() {
                let text = |column| batch.text(column, row).map(str::to_owned);
                let (Some(user), Some(meeting), Some(level)) = (
                    text(h::external_user_id),
                    text(h::external_meeting_id),
                    text(h::level),
                ) else {
                    continue;
                };
                let Some((key, name)) = entity(text(h::entity_id), text(h::entity_name)) else {
                    continue;
                };
                if OWN_CUTS.contains(&level.as_str()) {
                    continue;
                }
                if let Some(parent) = text(h::parent_level) {
                    self.parents.insert(level.clone(), parent);
                }
                let at = self.position(level, key, name);
                let entities = of_users.entry((meeting, user)).or_default();
                if !entities.contains(&at) {
                    entities.push(at);
                }
            }
        }
        Ok(of_users)
    }

    /// The position of an entity, which is added if it is new.
    fn position(&mut self, level: String, key: String, name: Option<String>) -> usize {
        let id = (level, key);
        let at = match self.positions.get(&id) {
            Some(at) => *at,
            None => {
                let (level, key) = id.clone();
                self.entities.push(LevelEntity {
                    level,
                    key,
                    name: None,
                });
                self.positions.insert(id, self.entities.len() - 1);
                self.entities.len() - 1
            }
        };
        if let Some(entity) = self.entities.get_mut(at)
            && name > entity.name
        {
            entity.name = name;
        }
        at
    }
}

//! The record of an erasure while it is worked on, and what is known of the people meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::Utc;
use parking_lot::Mutex;

use super::{ForgetOptions, Forgotten, erased};
use crate::Result;
use crate::ids::DayId;
use crate::lake::erased::{Erased, KnownBy, Person};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::lake_state::erasures::{DayErasure, Erasure, LeftToHuman, RecordingChoice};
use crate::pipeline::run_context::RunContext;
use crate::pseudonym::PseudonymKey;
use crate::store::Condition;
use crate::store::json::to_json;
use crate::tables::{PersonIds, Traces};

/// The record of an erasure that is worked on.
pub(super) struct ErasureBook {
    pub run: Arc<RunContext>,
    /// True if nothing is written.
    pub is_dry: bool,
    /// The people to erase.
    pub erased: Arc<Erased>,
    /// The values by which the tables name them.
    pub ids: PersonIds,
    /// True if recordings of their calls are deleted.
    pub deletes_recordings: bool,
    /// The calls of the people that earlier erasures have found, by day.
    earlier: BTreeMap<String, BTreeSet<String>>,
    erasure: tokio::sync::Mutex<Erasure>,
    /// All that is known of them.
    traces: Mutex<Traces>,
    failed: Mutex<Vec<String>>,
    /// The keys of the reports that manifests name.
    reports: Mutex<BTreeSet<String>>,
    /// The days that lack a report.
    incomplete: Mutex<BTreeSet<DayId>>,
}

impl ErasureBook {
    pub fn new(
        run: &Arc<RunContext>,
        options: &ForgetOptions,
        (erasure, known): (Erasure, &[Erasure]),
        keys: (&PseudonymKey, Option<&PseudonymKey>),
    ) -> Self {
        let ids = person_ids(&options.people, keys.1);
        let mut traces = Traces::default();
        traces.users.clone_from(&ids.users);
        traces.participants.clone_from(&ids.participants);
        traces.emails.clone_from(&ids.emails);
        Self {
            run: Arc::clone(run),
            is_dry: options.dry_run,
            erased: erased(&erasure, keys.0),
            deletes_recordings: options.recordings == RecordingChoice::Delete,
            earlier: earlier_calls(&erasure, known),
            ids,
            erasure: tokio::sync::Mutex::new(erasure),
            traces: Mutex::new(traces),
            failed: Mutex::default(),
            reports: Mutex::default(),
            incomplete: Mutex::default(),
        }
    }

    /// What is known of the people beforehand: their ids.
    pub fn seeds(&self) -> Traces {
        let mut seeds = Traces::default();
        seeds.users.clone_from(&self.ids.users);
        seeds.participants.clone_from(&self.ids.participants);
        seeds.emails.clone_from(&self.ids.emails);
        seeds
    }

    /// The calls of a day in which earlier erasures have found the people.
    pub fn earlier_calls(&self, day: &str) -> impl Iterator<Item = String> {
        self.earlier.get(day).into_iter().flatten().cloned()
    }

    /// Adds what was learnt of the people.
    pub fn learn(&self, traces: &Traces) {
        self.traces.lock().add(traces);
    }

    /// All that is known of the people.
    pub fn traces(&self) -> Traces {
        self.traces.lock().clone()
    }

    /// Notes which raw reports a manifest names.
    pub fn note_reports(&self, manifest: &Manifest) {
        let reports = manifest.calls.values().flat_map(|call| call.reports.values());
        let keys = reports.filter_map(|landing| landing.landed.as_ref().map(|landed| landed.key.clone()));
        self.reports.lock().extend(keys);
    }

    /// Notes a day that lacks a report.
    pub fn note_incomplete(&self, day: DayId) {
        self.incomplete.lock().insert(day);
    }

    /// True if a day lacks a report.
    pub fn is_incomplete(&self, day: &DayId) -> bool {
        self.incomplete.lock().contains(day)
    }

    /// True if a manifest names a raw report.
    pub fn has_report(&self, key: &str) -> bool {
        self.reports.lock().contains(key)
    }

    /// Notes a failure; the same command tries again.
    pub fn fail(&self, why: String) {
        tracing::error!("{why}");
        self.failed.lock().push(why);
    }

    /// Changes the record, and writes it unless this is a dry run.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn note<T>(&self, change: impl FnOnce(&mut Erasure) -> T) -> Result<T> {
        let mut erasure = self.erasure.lock().await;
        let before = erasure.clone();
        let result = change(&mut erasure);
        if *erasure != before && !self.is_dry {
            write(&self.run, &erasure).await?;
        }
        Ok(result)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn save(&self) -> Result<()> {
        write(&self.run, &*self.erasure.lock().await).await
    }

    /// Leaves something to a human.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn leave(&self, left: impl IntoIterator<Item = LeftToHuman>) -> Result<()> {
        self.note(|erasure| erasure.left.extend(left)).await
    }

    /// Counts objects of a kind, and notes their keys, because versions of them may have to go.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn count_object(&self, kind: &str, key: &str) -> Result<()> {
        self.note(|erasure| {
            if erasure.touched.insert(key.to_owned()) {
                *erasure.objects.entry(kind.to_owned()).or_default() += 1;
            }
        })
        .await
    }

    /// The plan of a day, if it was made and not completed.
    pub async fn is_pending(&self, day: &str) -> bool {
        let erasure = self.erasure.lock().await;
        erasure.days.get(day).is_some_and(|day| !day.is_done)
    }

    /// The dates of lesson data that were planned and not completed.
    pub async fn pending_dates(&self) -> Vec<String> {
        let erasure = self.erasure.lock().await;
        let pending = erasure.dates.iter().filter(|(_, date)| !date.is_done);
        pending.map(|(date, _)| date.clone()).collect()
    }

    /// The keys of all objects that were written anew or deleted.
    pub async fn touched(&self) -> BTreeSet<String> {
        self.erasure.lock().await.touched.clone()
    }

    /// True if the lake had something of the people.
    pub async fn has_found(&self) -> bool {
        let erasure = self.erasure.lock().await;
        !(erasure.days.is_empty() && erasure.dates.is_empty() && erasure.objects.is_empty())
    }

    /// The id of the erasure.
    pub async fn id(&self) -> String {
        self.erasure.lock().await.id.clone()
    }

    /// Ends the erasure, and gives its result.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn end(&self) -> Result<Forgotten> {
        let failed = std::mem::take(&mut *self.failed.lock());
        let is_done = failed.is_empty();
        self.note(|erasure| {
            if is_done {
                erasure.ended_at = Some(self.run.now.max(Utc::now()));
                erasure.touched.clear();
            }
        })
        .await?;
        Ok(Forgotten {
            dry_run: self.is_dry,
            erasure: self.erasure.lock().await.clone(),
            failed,
        })
    }
}

async fn write(run: &RunContext, erasure: &Erasure) -> Result<()> {
    let key = key::erasure(&erasure.id);
    run.store
        .put(&key, to_json(erasure)?, Condition::Any)
        .await
        .map(|_| ())
}

/// The calls in which earlier erasures of the same people have found them, by day.
fn earlier_calls(erasure: &Erasure, known: &[Erasure]) -> BTreeMap<String, BTreeSet<String>> {
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let same = known
        .iter()
        .filter(|known| !known.people.is_disjoint(&erasure.people));
    for (day, found) in same.flat_map(|known| &known.days) {
        calls
            .entry(day.clone())
            .or_default()
            .extend(found.calls.iter().cloned());
    }
    calls
}

/// The values by which the tables name people: as they are, and as pseudonyms with a key.
fn person_ids(people: &BTreeSet<Person>, key: Option<&PseudonymKey>) -> PersonIds {
    let mut ids = PersonIds::default();
    for Person { known_by, value } in people {
        let (set, value) = match known_by {
            KnownBy::User => (&mut ids.users, value.trim().to_owned()),
            KnownBy::Participant => (&mut ids.participants, value.trim().to_owned()),
            KnownBy::Email => (&mut ids.emails, value.trim().to_lowercase()),
        };
        set.extend(key.map(|key| key.of(&value)));
        set.insert(value);
    }
    ids
}

/// A plan that was made before, or a new one.
pub(super) fn planned(known: Option<DayErasure>, new: DayErasure) -> DayErasure {
    match known {
        Some(mut known) => {
            known.reports += new.reports;
            known.recordings += new.recordings;
            known.calls.extend(new.calls);
            for (table, rows) in new.rows_before {
                known.rows_before.entry(table).or_insert(rows);
            }
            known.is_done = false;
            known
        }
        None => new,
    }
}

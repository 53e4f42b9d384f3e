//! The size of a job, estimated without a request to the API, for a person who has to confirm it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::Job;
use crate::Result;
use crate::config::Config;
use crate::dates;
use crate::ids::SpaceId;
use crate::lake::key;
use crate::store::Store;
use crate::store::json::get_json;

/// Objects of the API by id. Only the ids count here.
type KnownSpaces = BTreeMap<SpaceId, IgnoredAny>;

/// The size of a job, as the lake and the configuration tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The first date.
    pub from: NaiveDate,
    /// The last date, itself included.
    pub to: NaiveDate,
    /// Dates.
    pub days: u64,
    /// The dates for which the lake has a manifest.
    pub days_in_lake: u64,
    /// The ids of the spaces that are asked for, or else of those that the lake knows.
    pub spaces: Vec<SpaceId>,
    /// The rooms that are asked for, or else those of the spaces that the lake knows.
    pub rooms: u64,
    /// The upper limit of listings that the job requests: one for each room and date. Rooms without calls need fewer.
    pub listings_at_most: u64,
}

impl Outline {
    /// Estimates a job.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn of(config: &Config, store: &dyn Store, job: &Job) -> Result<Self> {
        let spaces = spaces(config, store, job).await?;
        let mut rooms = job.rooms.len() as u64;
        if job.rooms.is_empty() {
            for space in &spaces {
                let known = get_json::<KnownSpaces>(store, &key::room_catalog(space)).await?;
                rooms += known.map_or(0, |(rooms, _)| rooms.len() as u64);
            }
        }
        let manifests = store.list(key::DAYS).await?;
        let seen: BTreeSet<NaiveDate> = manifests
            .iter()
            .filter_map(|entry| key::date_in(&entry.key))
            .filter(|date| (job.from..=job.to).contains(date))
            .collect();
        let days = dates::count(job.from, job.to);
        Ok(Self {
            from: job.from,
            to: job.to,
            days,
            days_in_lake: seen.len() as u64,
            spaces,
            rooms,
            listings_at_most: rooms * days,
        })
    }

    /// A line for people.
    pub fn for_people(&self) -> String {
        let spaces = match self.spaces.len() {
            0 => "all spaces in scope".into(),
            1 => "1 space".into(),
            count => format!("{count} spaces"),
        };
        let rooms = match self.rooms {
            0 => String::new(),
            rooms => format!(
                ", {rooms} rooms known: {} listings at most",
                self.listings_at_most
            ),
        };
        format!(
            "plan: {} to {}, {} days ({} of them in the lake), {spaces}{rooms}",
            self.from, self.to, self.days, self.days_in_lake
        )
    }
}

async fn spaces(config: &Config, store: &dyn Store, job: &Job) -> Result<Vec<SpaceId>> {
    for asked in [&job.spaces, &config.scope.spaces] {
        if !asked.is_empty() {
            return Ok(asked.clone());
        }
    }
    let known = get_json::<KnownSpaces>(store, key::SPACES).await?;
    Ok(known.map_or_else(Vec::new, |(spaces, _)| spaces.into_keys().collect()))
}

//! Predicts what the next nightly run will do for a day, so that the page promises exactly that. Pure.

use chrono::{DateTime, Days, NaiveDate, Utc};
use maud::{Markup, html};

use super::frame::Visit;
use super::lang::PageText;
use super::texts as t;
use super::view::space_of;
use crate::config::Config;
use crate::lake;
use crate::schedule;
use crate::status::{DayStatus, MarkedDays};

/// The run that will ask again for what a day lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comes {
    /// The nightly run at this time.
    At(DateTime<Utc>),
    /// The next nightly run, but this daemon schedules none.
    Unscheduled,
    /// The next nightly run, once the queue is no longer paused.
    Paused,
    /// No run by itself; only a backfill asks again.
    Nobody,
}

/// The next nightly run: its due time and the first date that it lists again.
#[derive(Debug, Clone, Copy)]
pub struct NextRun {
    due: Option<DateTime<Utc>>,
    first: NaiveDate,
    is_paused: bool,
}

impl NextRun {
    /// The next run by the configuration.
    pub fn of(config: &Config, now: DateTime<Utc>, is_paused: bool) -> Self {
        let due = schedule::next_runs(&config.schedule.cron, config.timezone, now, 1);
        let due = due.ok().and_then(|due| due.first().copied());
        let on = lake::date_of(due.unwrap_or(now), config.timezone);
        Self {
            due,
            first: on - Days::new(1 + u64::from(config.export.lookback_days)),
            is_paused,
        }
    }

    fn run(&self) -> Comes {
        if self.is_paused {
            return Comes::Paused;
        }
        self.due.map_or(Comes::Unscheduled, Comes::At)
    }

    /// The run that lists a date's rooms again.
    pub fn lists(&self, date: NaiveDate) -> Comes {
        if date >= self.first {
            self.run()
        } else {
            Comes::Nobody
        }
    }

    /// The run that asks again for what a day lacks.
    pub fn comes(&self, day: &DayStatus, marked: &MarkedDays) -> Comes {
        // A run asks for the open items of a marked day, and lists it again only if a listing failed.
        let is_open = day.calls_pending
            + day.reports.pending
            + day.reports.failed
            + day.records.pending
            + day.records.failed
            + day.rooms_missed
            + u64::from(day.space_missed)
            + u64::from(!day.built)
            > 0;
        let date = day.date;
        if is_open && marked.has(date, &space_of(day).into()) {
            self.run()
        } else if is_open || !day.listed {
            self.lists(date)
        } else {
            Comes::Nobody
        }
    }
}

/// A sentence about the run that will ask again.
pub fn asks(visit: &Visit, comes: Comes) -> Markup {
    told(visit, comes, [t::ASKS_AT, t::ASKS_UNSCHEDULED, t::ASKS_NOBODY])
}

/// A sentence about the run that will list a day that was not listed completely.
pub fn looks(visit: &Visit, comes: Comes) -> Markup {
    told(visit, comes, [t::LOOKS_AT, t::LOOKS_UNSCHEDULED, t::LOOKS_NOBODY])
}

/// A sentence about the run that will build the tables.
pub fn builds(visit: &Visit, comes: Comes) -> Markup {
    told(
        visit,
        comes,
        [t::BUILDS_AT, t::BUILDS_UNSCHEDULED, t::BUILDS_NOBODY],
    )
}

fn told(visit: &Visit, comes: Comes, [at, unscheduled, nobody]: [PageText; 3]) -> Markup {
    let lang = visit.lang;
    html! {
        @match comes {
            Comes::At(due) => { (lang.fill(at, &[&visit.at(due)])) }
            Comes::Unscheduled => { (lang.say(unscheduled)) }
            Comes::Paused => { (lang.say(t::COMES_PAUSED)) }
            Comes::Nobody => { (lang.say(nobody)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::key;
    use crate::store::{Condition, Store, folder::FolderStore};

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[tokio::test]
    async fn a_run_is_promised_only_for_marked_days_and_dates_that_it_lists() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let marker = key::open_day(date("2026-11-01"), &"s".into());
        store
            .put(&marker, bytes::Bytes::new(), Condition::Any)
            .await
            .expect("put");
        let marked = MarkedDays::read(&store).await.expect("read");
        let now = "2026-11-22T10:00:00Z".parse().expect("instant");
        let mut config = Config::default();
        config.schedule.cron = vec!["0 2 * * *".into()];
        config.export.lookback_days = 3;
        let ahead = NextRun::of(&config, now, false);
        let due = Comes::At("2026-11-23T02:00:00Z".parse().expect("instant"));
        let day = |on: &str, change: fn(&mut DayStatus)| {
            let mut day = DayStatus {
                date: date(on),
                space_id: "s".into(),
                listed: true,
                built: true,
                ..DayStatus::default()
            };
            change(&mut day);
            ahead.comes(&day, &marked)
        };
        let pending: fn(&mut DayStatus) = |day| day.reports.pending = 1;
        let unlisted: fn(&mut DayStatus) = |day| day.listed = false;
        assert_eq!(day("2026-11-01", pending), due, "its marker stands");
        assert_eq!(day("2026-11-02", pending), Comes::Nobody, "it has none");
        assert_eq!(day("2026-11-19", pending), due, "the run of the 23rd looks at it");
        assert_eq!(day("2026-11-18", pending), Comes::Nobody);
        // The day before a range is known, but not listed and without a marker.
        assert_eq!(day("2026-11-05", unlisted), Comes::Nobody);
        // A marker alone causes no listing of the rest of the day.
        assert_eq!(day("2026-11-01", unlisted), Comes::Nobody);
        assert_eq!(day("2026-11-20", unlisted), due);
        let unbuilt: fn(&mut DayStatus) = |day| day.built = false;
        assert_eq!(day("2026-11-01", unbuilt), due);
        // No run asks for files that were given up.
        let lost: fn(&mut DayStatus) = |day| day.reports.lost = 1;
        assert_eq!(day("2026-11-20", lost), Comes::Nobody);
        config.schedule.cron.clear();
        let ahead = NextRun::of(&config, now, false);
        assert_eq!(ahead.lists(date("2026-11-21")), Comes::Unscheduled);
        let paused = NextRun::of(&config, now, true);
        assert_eq!(paused.lists(date("2026-11-21")), Comes::Paused);
    }
}

//! The notes of a run's builds, made into warnings that carry the ids they are about. Pure.
//!
//! A run may build thousands of days of which all have the same fault, so that of each subject (a column, a field) only
//! some places are named and the others are counted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use crate::ids::SpaceId;
use crate::lake::manifest::{Manifest, Quality};
use crate::pipeline::summary::Problem;
use crate::sanitize::without_contacts;
use crate::tables::{About, Kept, Notes, Sightings};

/// Places of one subject that are named; those beyond are counted together.
const MOST_NAMED: usize = 200;

/// The notes of builds, by kind and subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Noted(BTreeMap<(&'static str, String), Subject>);

/// A subject and where it was seen.
#[derive(Debug, Clone, Default, PartialEq)]
struct Subject {
    /// The sentence behind the number of sightings.
    sentence: String,
    /// The places with their sightings: a problem that has the place's ids, and no message yet.
    places: Vec<(Problem, u64)>,
    /// Sightings elsewhere, and in how many places.
    beyond: (u64, u64),
}

/// Warnings of this kind are one a subject, about the first place: a new field mostly comes with every report.
const ONCE: &str = "new_field";

impl Noted {
    /// Takes the notes of a day's build.
    pub fn of(notes: &Notes, day: &Manifest) -> Self {
        let mut noted = Self::default();
        for (path, sightings) in &notes.unmapped {
            // A report may have people's addresses for names of fields.
            let sentence = format!(
                "times the new field `{}`: no column takes it, {}",
                without_contacts(path),
                whereabouts(notes.kept.get(path))
            );
            noted.see(ONCE, path, &sentence, sightings, day);
        }
        for (column, sightings) in &notes.bad {
            let sentence = format!("values do not fit `{column}` and are null there");
            noted.see("bad_value", column, &sentence, sightings, day);
        }
        for (observation, sightings) in &notes.observed {
            let (kind, sentence) = (observation.kind(), observation.sentence());
            noted.see(kind, sentence, sentence, sightings, day);
        }
        noted
    }

    /// Takes in how well lesson data and participants of a day fit together. Absent users are no fault: they are what
    /// attendance is about.
    pub fn see_quality(&mut self, date: NaiveDate, space: &SpaceId, quality: &Quality) {
        let seen = [
            (
                "participants_without_meta",
                quality.participants_without_meta,
                "participants with a user and a meeting have no lesson meta",
            ),
            (
                "unknown_role",
                quality.unknown_roles,
                "users have a role that is none of student, teacher, parent, assistant",
            ),
        ];
        for (kind, times, sentence) in seen {
            if times > 0 {
                let place = Problem::default().on(date, space);
                self.subject(kind, kind, sentence).add(place, times);
            }
        }
    }

    fn see(
        &mut self,
        kind: &'static str,
        subject: &str,
        sentence: &str,
        sightings: &Sightings,
        day: &Manifest,
    ) {
        let subject = self.subject(kind, subject, sentence);
        for (about, times) in sightings {
            subject.add(place(about, day), *times);
        }
    }

    fn subject(&mut self, kind: &'static str, name: &str, sentence: &str) -> &mut Subject {
        let subject = self.0.entry((kind, name.to_owned())).or_default();
        if subject.sentence.is_empty() {
            sentence.clone_into(&mut subject.sentence);
        }
        subject
    }

    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: Self) {
        for ((kind, name), theirs) in other.0 {
            let subject = self.subject(kind, &name, &theirs.sentence);
            for (place, times) in theirs.places {
                subject.add(place, times);
            }
            subject.beyond.0 += theirs.beyond.0;
            subject.beyond.1 += theirs.beyond.1;
        }
    }

    /// The warnings.
    pub fn into_problems(self) -> Vec<Problem> {
        let problems = self.0.into_iter().flat_map(|((kind, _), subject)| match kind {
            ONCE => subject.once(kind),
            _ => subject.each(kind),
        });
        problems.collect()
    }
}

impl Subject {
    fn add(&mut self, place: Problem, times: u64) {
        if self.places.len() < MOST_NAMED {
            self.places.push((place, times));
        } else {
            self.beyond = (self.beyond.0 + times, self.beyond.1 + 1);
        }
    }

    /// Makes a single warning for all sightings, about the first place.
    fn once(self, kind: &str) -> Vec<Problem> {
        let times = self.places.iter().map(|(_, times)| times).sum::<u64>() + self.beyond.0;
        let first = self.places.into_iter().next();
        let problem = |(place, _)| told(kind, format!("{times} {}", self.sentence), times, place);
        first.map(problem).into_iter().collect()
    }

    /// A warning for each place that is named, and one for the others.
    fn each(self, kind: &str) -> Vec<Problem> {
        let (times, places) = self.beyond;
        let beyond = (places > 0).then(|| {
            let message = format!(
                "{times} {}, in {places} more places that are not named",
                self.sentence
            );
            told(kind, message, times, Problem::default())
        });
        let named = self.places.into_iter().map(|(place, times)| {
            let message = format!("{times} {}", self.sentence);
            told(kind, message, times, place)
        });
        named.chain(beyond).collect()
    }
}

/// Where a field is that no column takes.
fn whereabouts(kept: Option<&BTreeSet<Kept>>) -> String {
    let places = kept.into_iter().flatten().map(|kept| match kept {
        Kept::Extra => "`extra`",
        Kept::Raw => "`raw/` alone",
        Kept::Manifest => "the day's manifest alone",
    });
    let places: Vec<_> = places.collect();
    format!("{} has it", places.join(" or "))
}

/// A problem at a place.
fn told(kind: &str, message: String, times: u64, place: Problem) -> Problem {
    let Problem { kind, message, .. } = Problem::new(kind, message);
    Problem {
        kind,
        message,
        count: Some(times),
        ..place
    }
}

/// The ids of what a note is about.
fn place(about: &About, day: &Manifest) -> Problem {
    let place = Problem::default().on(day.date, &day.space_id);
    match about {
        About::Day => place,
        About::Room(id) => place.room(id),
        About::Call(id) => match day.calls.get(id.as_str()) {
            Some(entry) => place.room(&entry.room_id).call(id),
            None => place.call(id),
        },
        About::Record(id) => match day.records.get(id.as_str()) {
            Some(entry) => place.room(&entry.room_id).record(id),
            None => place.record(id),
        },
    }
}

/// The problems that a day's build has with single calls.
pub(crate) fn told_of_calls(notes: &Notes, day: &Manifest) -> Vec<Problem> {
    let problem = |kind: &str, message: String, call: &str| {
        let problem = Problem::new(kind, message).on(day.date, &day.space_id).call(call);
        match day.calls.get(call) {
            Some(entry) => problem.room(&entry.room_id),
            None => problem,
        }
    };
    let unreadable = notes.unreadable.iter().map(|call| {
        let message = "the landed report can no longer be read as JSON";
        problem("report_unreadable", message.into(), call)
    });
    let refused = notes.refused_workbooks.iter().map(|(call, why)| {
        let message = format!("the landed XLSX report is {why}");
        problem("report_unreadable", message, call)
    });
    let differ = notes.differing_participants.iter().map(|(call, json, xlsx)| {
        let message = format!("the JSON report tells {json} participants apart, the XLSX one {xlsx}");
        problem("participants_differ", message, call)
    });
    let outside = notes
        .outside_calls
        .iter()
        .map(|(call, outside)| problem("outside_call", outside.sentence(), call).count(outside.stays));
    unreadable.chain(refused).chain(differ).chain(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(date: &str, kind: &'static str, calls: std::ops::Range<u32>) -> Noted {
        let day = Manifest::new(date.parse().expect("date"), "s".to_owned());
        let sightings = calls.map(|call| (About::Call(format!("c{call}")), 2)).collect();
        let mut noted = Noted::default();
        noted.see(kind, "participants.phone", "values do not fit", &sightings, &day);
        noted
    }

    #[test]
    fn a_new_field_is_told_with_the_place_that_keeps_it() {
        let day = Manifest::new("2026-11-22".parse().expect("date"), "s".to_owned());
        let mut notes = Notes::default();
        for (path, kept) in [
            ("participants[].device", &[Kept::Extra][..]),
            ("meeting", &[Kept::Raw]),
            ("record.codec", &[Kept::Manifest]),
            ("…", &[Kept::Raw, Kept::Extra]),
        ] {
            notes.unmapped.insert(path.into(), [(About::Day, 1)].into());
            notes.kept.insert(path.into(), kept.iter().copied().collect());
        }
        let told = |path: &str| {
            let problems = Noted::of(&notes, &day).into_problems();
            let about = format!("`{path}`: no column takes it, ");
            let found = problems
                .iter()
                .find_map(|problem| problem.message.split_once(&about));
            found.map(|(_, rest)| rest.to_owned()).expect(path)
        };
        assert_eq!(told("participants[].device"), "`extra` has it");
        assert_eq!(told("meeting"), "`raw/` alone has it");
        assert_eq!(told("record.codec"), "the day's manifest alone has it");
        assert_eq!(told("…"), "`extra` or `raw/` alone has it");
    }

    #[test]
    fn each_place_is_named_with_its_ids_up_to_a_bound() {
        let mut all = noted("2026-11-22", "bad_value", 0..150);
        all.add(noted("2026-11-23", "bad_value", 0..100));
        let problems = all.into_problems();
        assert_eq!(problems.len(), MOST_NAMED + 1);
        assert_eq!(
            (
                problems[0].call_id.as_deref(),
                problems[0].count,
                problems[0].message.as_str()
            ),
            (Some("c0"), Some(2), "2 values do not fit")
        );
        assert_eq!(problems[199].date, "2026-11-23".parse().ok());
        let beyond = &problems[MOST_NAMED];
        assert_eq!((beyond.count, beyond.call_id.as_deref()), (Some(100), None));
    }

    #[test]
    fn a_new_field_is_told_once_with_the_first_place() {
        let mut all = noted("2026-11-22", ONCE, 3..150);
        all.add(noted("2026-11-23", ONCE, 0..100));
        let problems = all.into_problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].count, Some(494));
        assert_eq!(problems[0].space_id.as_deref(), Some("s"));
        assert!(problems[0].call_id.is_some());
    }
}

//! Makes warnings, with the ids that they are about, of the notes of a run's builds. Pure.
//!
//! A run may build thousands of days that all have the same fault. So only the first places of each subject (a column, a
//! field) are named, and the others are counted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use crate::ids::SpaceId;
use crate::lake::manifest::{Manifest, Quality};
use crate::pipeline::summary::{Problem, ProblemKind};
use crate::sanitize::without_contacts;
use crate::tables::{About, Kept, Notes, Sightings};

/// Places of one subject that are named. Those beyond are counted together.
const MOST_NAMED: usize = 200;

/// The notes of builds, by kind and subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NotesBySubject(BTreeMap<(ProblemKind, String), Subject>);

/// A column, field or observation, and the places where it was seen.
#[derive(Debug, Clone, Default, PartialEq)]
struct Subject {
    /// The sentence behind the number of sightings.
    sentence: String,
    /// The places with their sightings. Each place is a problem that has ids, and no message yet.
    places: Vec<(Problem, u64)>,
    /// The sightings beyond [`MOST_NAMED`] places, and the number of those places.
    beyond: (u64, u64),
}

/// A warning of this kind is given once for each subject, because a new field mostly comes with every report.
const ONCE: ProblemKind = ProblemKind::NewField;

impl NotesBySubject {
    /// The notes of a day's build.
    pub fn of(notes: &Notes, day: &Manifest) -> Self {
        let mut noted = Self::default();
        for (path, sightings) in &notes.unmapped {
            // The name of a field in a report may be a person's address.
            let sentence = format!(
                "times the new field `{}`: no column takes it, {}",
                without_contacts(path),
                whereabouts(notes.kept.get(path))
            );
            noted.see(ONCE, path, &sentence, sightings, day);
        }
        for (column, sightings) in &notes.bad {
            let sentence = format!("values do not fit `{column}` and are null there");
            noted.see(ProblemKind::BadValue, column, &sentence, sightings, day);
        }
        for (observation, sightings) in &notes.observed {
            let (kind, sentence) = ((*observation).into(), observation.sentence());
            noted.see(kind, sentence, sentence, sightings, day);
        }
        noted
    }

    /// Adds how well lesson data and participants of a day match. Absent users are no fault: attendance is about them.
    pub fn see_quality(&mut self, date: NaiveDate, space: &SpaceId, quality: &Quality) {
        let seen = [
            (
                ProblemKind::ParticipantsWithoutMeta,
                quality.participants_without_meta,
                "participants with a user and a meeting have no lesson data",
            ),
            (
                ProblemKind::UnknownRole,
                quality.unknown_roles,
                "users have a role that is none of student, teacher, parent, assistant",
            ),
        ];
        for (kind, times, sentence) in seen {
            if times > 0 {
                let place = Problem::default().on(date, space);
                self.subject(kind, "", sentence).add(place, times);
            }
        }
    }

    fn see(
        &mut self,
        kind: ProblemKind,
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

    fn subject(&mut self, kind: ProblemKind, name: &str, sentence: &str) -> &mut Subject {
        let subject = self.0.entry((kind, name.to_owned())).or_default();
        if subject.sentence.is_empty() {
            sentence.clone_into(&mut subject.sentence);
        }
        subject
    }

    /// Adds the notes of another day.
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
    fn once(self, kind: ProblemKind) -> Vec<Problem> {
        let times = self.places.iter().map(|(_, times)| times).sum::<u64>() + self.beyond.0;
        let first = self.places.into_iter().next();
        let problem = |(place, _)| warning(kind, format!("{times} {}", self.sentence), times, place);
        first.map(problem).into_iter().collect()
    }

    /// Makes a warning for each place that is named, and one for the others.
    fn each(self, kind: ProblemKind) -> Vec<Problem> {
        let (times, places) = self.beyond;
        let beyond = (places > 0).then(|| {
            let message = format!(
                "{times} {}, in {places} more places that are not named",
                self.sentence
            );
            warning(kind.clone(), message, times, Problem::default())
        });
        let named = self.places.into_iter().map(|(place, times)| {
            let message = format!("{times} {}", self.sentence);
            warning(kind.clone(), message, times, place)
        });
        named.chain(beyond).collect()
    }
}

/// The places in the lake that keep a field which no column takes.
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
fn warning(kind: ProblemKind, message: String, times: u64, place: Problem) -> Problem {
    let Problem { kind, message, .. } = Problem::new(kind, message);
    Problem {
        kind,
        message,
        count: Some(times),
        ..place
    }
}

/// A problem with the ids of the object that a note is about.
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

/// The warnings of a day's build about single calls.
pub(crate) fn told_of_calls(notes: &Notes, day: &Manifest) -> Vec<Problem> {
    let problem = |kind: ProblemKind, message: String, call: &str| {
        let problem = Problem::new(kind, message).on(day.date, &day.space_id).call(call);
        match day.calls.get(call) {
            Some(entry) => problem.room(&entry.room_id),
            None => problem,
        }
    };
    let unreadable = notes.unreadable.iter().map(|call| {
        let message = "the landed report is no longer valid JSON";
        problem(ProblemKind::ReportUnreadable, message.into(), call)
    });
    let refused = notes.refused_workbooks.iter().map(|(call, why)| {
        let message = format!("the landed XLSX report is {why}");
        problem(ProblemKind::ReportUnreadable, message, call)
    });
    let differ = notes.differing_participants.iter().map(|(call, json, xlsx)| {
        let message = format!("the JSON report has {json} participants, the XLSX one {xlsx}");
        problem(ProblemKind::ParticipantsDiffer, message, call)
    });
    let outside = notes.outside_calls.iter().map(|(call, outside)| {
        problem(ProblemKind::OutsideCall, outside.sentence(), call).count(outside.stays)
    });
    unreadable.chain(refused).chain(differ).chain(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(date: &str, kind: ProblemKind, calls: std::ops::Range<u32>) -> NotesBySubject {
        let day = Manifest::new(date.parse().expect("date"), "s".to_owned());
        let sightings = calls.map(|call| (About::Call(format!("c{call}")), 2)).collect();
        let mut noted = NotesBySubject::default();
        noted.see(kind, "participants.phone", "values do not fit", &sightings, &day);
        noted
    }

    #[test]
    fn the_warning_of_a_new_field_says_which_place_keeps_it() {
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
            let problems = NotesBySubject::of(&notes, &day).into_problems();
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
        let mut all = noted("2026-11-22", ProblemKind::BadValue, 0..150);
        all.add(noted("2026-11-23", ProblemKind::BadValue, 0..100));
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
    fn a_new_field_gives_one_warning_about_its_first_place() {
        let mut all = noted("2026-11-22", ONCE, 3..150);
        all.add(noted("2026-11-23", ONCE, 0..100));
        let problems = all.into_problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].count, Some(494));
        assert_eq!(problems[0].space_id.as_deref(), Some("s"));
        assert!(problems[0].call_id.is_some());
    }
}

//! A cut through attendance: the visits of each course, group, teacher, student or entity of a level. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::tally::Tally;

/// The visits of one course, group, teacher, student or entity of a level.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CutRow {
    /// Its name; the greatest one if it had several.
    pub name: Option<String>,
    /// The number of its meetings.
    pub lessons: u64,
    /// Its visits.
    pub total: Tally,
    /// Its visits by the Monday of their week.
    pub weeks: BTreeMap<NaiveDate, Tally>,
    /// For a teacher: the meetings that the teacher came to, late, or not.
    pub held: Tally,
    last_meeting: String,
}

impl CutRow {
    /// The name, or a key if there is none.
    pub fn title<'t>(&'t self, key: &'t str) -> &'t str {
        self.name.as_deref().unwrap_or(shown_id(key))
    }
}

/// The hex digits of a pseudonym, and the number of those that are shown.
const PSEUDONYM_DIGITS: usize = 64;
const SHOWN_DIGITS: usize = 12;

/// An id for people: of a pseudonym the first digits, which tell it from the others.
pub(super) fn shown_id(id: &str) -> &str {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match id.len() == PSEUDONYM_DIGITS && id.bytes().all(is_digit) {
        true => &id[..SHOWN_DIGITS],
        false => id,
    }
}

/// A cut: rows by their id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cut {
    /// The rows by id; by name where there is no id.
    pub rows: BTreeMap<String, CutRow>,
}

impl Cut {
    /// The row of a key, which is made if it is new, for a visit in a meeting. Visits come meeting by meeting.
    pub(super) fn row(&mut self, key: &str, name: Option<&str>, meeting: &str) -> &mut CutRow {
        if !self.rows.contains_key(key) {
            self.rows.insert(key.to_owned(), CutRow::default());
        }
        let row = self.rows.entry(key.to_owned()).or_default();
        if name > row.name.as_deref() {
            row.name = name.map(str::to_owned);
        }
        if row.last_meeting != meeting || row.lessons == 0 {
            meeting.clone_into(&mut row.last_meeting);
            row.lessons += 1;
        }
        row
    }

    /// Adds visits of a meeting.
    pub(super) fn add(
        &mut self,
        key: &str,
        name: Option<&str>,
        meeting: &str,
        week: NaiveDate,
        visits: Tally,
    ) {
        let row = self.row(key, name, meeting);
        row.total.add(visits);
        row.weeks.entry(week).or_default().add(visits);
    }

    /// The rows with their keys: the lowest share first, then those with the most visits; those of which nothing is
    /// known come last.
    pub fn worst_first(&self) -> Vec<(&str, &CutRow)> {
        let mut rows: Vec<(&str, &CutRow)> = self.rows.iter().map(|(key, row)| (key.as_str(), row)).collect();
        rows.sort_by(|(a_key, a), (b_key, b)| {
            let share = |row: &CutRow| row.total.share().unwrap_or(2.0);
            share(a)
                .total_cmp(&share(b))
                .then(b.total.expected.cmp(&a.total.expected))
                .then(a_key.cmp(b_key))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_its_meetings_and_keeps_the_greatest_name() {
        let mut cut = Cut::default();
        let week = "2026-11-23".parse().expect("date");
        let came = Tally::of_visit(Some(true), None);
        let missed = Tally::of_visit(Some(false), None);
        for (meeting, name, visit) in [
            ("m1", Some("A"), came),
            ("m1", None, missed),
            ("m2", Some("B"), came),
        ] {
            cut.add("g1", name, meeting, week, visit);
        }
        cut.add("g2", None, "m3", week, missed);
        cut.add("g3", None, "m3", week, Tally::of_visit(None, None));
        let row = &cut.rows["g1"];
        assert_eq!((row.lessons, row.name.as_deref()), (2, Some("B")));
        assert_eq!(row.weeks[&week], row.total);
        let order: Vec<&str> = cut.worst_first().into_iter().map(|(key, _)| key).collect();
        assert_eq!(order, ["g2", "g1", "g3"]);
        assert_eq!(cut.rows["g2"].title("g2"), "g2");
        let pseudonym = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(cut.rows["g2"].title(pseudonym), "5bdcc146bf60");
        assert_eq!(shown_id(&pseudonym[1..]), &pseudonym[1..]);
    }
}

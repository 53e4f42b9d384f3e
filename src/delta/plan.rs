//! The difference between a Delta table and the lake, date by date. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use super::action::Add;
use super::schema::DATE;
use crate::status::TableDigest;

/// The tag of a data file that says which files of the plain table it holds.
const SOURCES: &str = "telelake.sources";
/// The size of the files of a date up to which they are joined into one file, in bytes.
pub(crate) const MOST_BYTES: i64 = 128 << 20;

/// A file of the plain table, as the lake has it or as a data file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub digest: TableDigest,
    /// The mark by which a listing recognizes the file, if no manifest names its digest.
    pub stamp: Option<String>,
}

/// Files of the plain table by the names of their objects, without the ending.
pub(crate) type SourceFiles = BTreeMap<String, SourceFile>;

/// The tags of a data file that holds some files of the plain table.
pub(crate) fn tags(sources: &SourceFiles) -> BTreeMap<String, Option<String>> {
    let one = |(name, file): (&String, &SourceFile)| {
        let stamp = file.stamp.as_ref().map(|stamp| format!("@{stamp}"));
        format!("{name}={:016x}{}", file.digest.0, stamp.unwrap_or_default())
    };
    let text = sources.iter().map(one).collect::<Vec<_>>().join(",");
    [(SOURCES.to_owned(), Some(text))].into()
}

/// The files of the plain table that a data file holds; none for a file that another program wrote.
pub(crate) fn sources_of(add: &Add) -> SourceFiles {
    let text = add.tags.as_ref().and_then(|tags| tags.get(SOURCES)?.as_deref());
    let one = |part: &str| {
        let (name, file) = part.split_once('=')?;
        let (digest, stamp) = file
            .split_once('@')
            .map_or((file, None), |(digest, stamp)| (digest, Some(stamp)));
        let digest = TableDigest::from_hex(digest)?;
        let stamp = stamp.map(str::to_owned);
        Some((name.to_owned(), SourceFile { digest, stamp }))
    };
    text.unwrap_or_default().split(',').filter_map(one).collect()
}

/// The date of a data file; `None` for a table without partitions.
pub(crate) fn date_of(add: &Add) -> Option<NaiveDate> {
    add.partition_values.get(DATE)?.as_deref()?.parse().ok()
}

/// The change of a date of a table, or of a table without partitions. It is one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DateChange {
    pub date: Option<NaiveDate>,
    /// The paths of the data files that leave the table.
    pub remove: Vec<String>,
    /// The files of the plain table that the table gets.
    pub add: SourceFiles,
    /// True if they become one data file.
    pub is_merge: bool,
    /// False if the table has the same rows afterwards.
    pub changes_data: bool,
}

/// The changes that bring a table up to date, in the order of the dates. `wanted` has the files of the plain table.
/// The files of a date before `merge_before` become one data file.
pub(crate) fn changes<'a>(
    files: impl IntoIterator<Item = &'a Add>,
    wanted: &BTreeMap<Option<NaiveDate>, SourceFiles>,
    merge_before: NaiveDate,
) -> Vec<DateChange> {
    let mut present: BTreeMap<Option<NaiveDate>, Vec<&Add>> = BTreeMap::new();
    for add in files {
        present.entry(date_of(add)).or_default().push(add);
    }
    let none = SourceFiles::new();
    let dates: BTreeSet<Option<NaiveDate>> = present.keys().chain(wanted.keys()).copied().collect();
    let change = |date: Option<NaiveDate>| {
        let present = present.get(&date).map_or(&[][..], Vec::as_slice);
        let merges = date.is_some_and(|date| date < merge_before);
        change_of(date, present, wanted.get(&date).unwrap_or(&none), merges)
    };
    dates.into_iter().filter_map(change).collect()
}

/// The change of a date; `None` if there is nothing to change.
fn change_of(
    date: Option<NaiveDate>,
    present: &[&Add],
    wanted: &SourceFiles,
    merges: bool,
) -> Option<DateChange> {
    let digests = |files: &SourceFiles| -> BTreeSet<(String, TableDigest)> {
        files
            .iter()
            .map(|(name, file)| (name.clone(), file.digest))
            .collect()
    };
    let all = digests(wanted);
    let mut kept: BTreeSet<(String, TableDigest)> = BTreeSet::new();
    let mut remove = Vec::new();
    for add in present {
        let held = digests(&sources_of(add));
        if !held.is_empty() && held.is_subset(&all) && held.is_disjoint(&kept) {
            kept.extend(held);
        } else {
            remove.push(add.path.clone());
        }
    }
    let changes_data = !remove.is_empty() || kept != all;
    let size: i64 = present.iter().map(|add| add.size).sum();
    let is_merge = merges && wanted.len() > 1 && size <= MOST_BYTES;
    let is_one_file = present.len() == 1 && !changes_data;
    if is_merge && !is_one_file {
        return Some(DateChange {
            date,
            remove: present.iter().map(|add| add.path.clone()).collect(),
            add: wanted.clone(),
            is_merge,
            changes_data,
        });
    }
    let is_kept = |name: &String, file: &SourceFile| kept.contains(&(name.clone(), file.digest));
    let mut add = wanted.clone();
    add.retain(|name, file| !is_kept(name, file));
    changes_data.then_some(DateChange {
        date,
        remove,
        add,
        is_merge: false,
        changes_data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).expect("a date")
    }

    fn sources(files: &[(&str, u64)]) -> SourceFiles {
        let file = |(name, digest): &(&str, u64)| {
            let digest = TableDigest(*digest);
            ((*name).to_owned(), SourceFile { digest, stamp: None })
        };
        files.iter().map(file).collect()
    }

    fn data_file(path: &str, day: u32, files: &[(&str, u64)]) -> Add {
        Add {
            path: path.into(),
            partition_values: [(DATE.to_owned(), Some(date(day).to_string()))].into(),
            size: 10,
            modification_time: 0,
            data_change: true,
            stats: None,
            tags: Some(tags(&sources(files))),
        }
    }

    /// The changes as text: what leaves, what comes.
    fn told(present: &[Add], wanted: &[(u32, &[(&str, u64)])], merge_before: u32) -> Vec<String> {
        let wanted = wanted
            .iter()
            .map(|(day, files)| (Some(date(*day)), sources(files)));
        let planned = changes(present, &wanted.collect(), date(merge_before));
        let tell = |change: DateChange| {
            let day = change
                .date
                .map_or_else(|| "all".into(), |date| date.format("%d").to_string());
            let names: Vec<_> = change.add.keys().map(String::as_str).collect();
            let kind = if change.is_merge { "merge" } else { "copy" };
            let data = if change.changes_data { "" } else { " same rows" };
            format!(
                "{day}: -[{}] {kind}[{}]{data}",
                change.remove.join(" "),
                names.join(" ")
            )
        };
        planned.into_iter().map(tell).collect()
    }

    #[test]
    fn tags_say_which_files_a_data_file_holds() {
        let mut files = sources(&[("a%2Fb", 1), ("c", u64::MAX)]);
        if let Some(file) = files.get_mut("c") {
            file.stamp = Some("12-abc".into());
        }
        let mut add = data_file("x", 1, &[]);
        add.tags = Some(tags(&files));
        assert_eq!(sources_of(&add), files);
        add.tags = None;
        assert!(sources_of(&add).is_empty());
    }

    #[test]
    fn only_files_that_differ_are_copied_and_each_date_is_one_change() {
        let present = [
            data_file("p", 1, &[("a", 1)]),
            data_file("q", 1, &[("b", 2)]),
            data_file("r", 2, &[("a", 3)]),
        ];
        let same: &[(u32, &[(&str, u64)])] = &[(1, &[("a", 1), ("b", 2)]), (2, &[("a", 3)])];
        assert!(told(&present, same, 1).is_empty());
        let moved: &[(u32, &[(&str, u64)])] = &[(1, &[("a", 9), ("b", 2)]), (3, &[("a", 3)])];
        assert_eq!(
            told(&present, moved, 1),
            ["01: -[p] copy[a]", "02: -[r] copy[]", "03: -[] copy[a]"]
        );
        let strange = [data_file("of another program", 1, &[])];
        assert_eq!(told(&strange, &[], 1), ["01: -[of another program] copy[]"]);
    }

    #[test]
    fn the_files_of_an_old_date_become_one() {
        let present = [data_file("p", 1, &[("a", 1)]), data_file("q", 1, &[("b", 2)])];
        let same: &[(u32, &[(&str, u64)])] = &[(1, &[("a", 1), ("b", 2)])];
        assert_eq!(told(&present, same, 2), ["01: -[p q] merge[a b] same rows"]);
        let merged = [data_file("m", 1, &[("a", 1), ("b", 2)])];
        assert!(told(&merged, same, 2).is_empty());
        assert!(told(&merged, same, 1).is_empty(), "a file that was merged stays");
        let late: &[(u32, &[(&str, u64)])] = &[(1, &[("a", 1), ("b", 7)])];
        assert_eq!(told(&merged, late, 2), ["01: -[m] merge[a b]"]);
        assert_eq!(told(&merged, late, 1), ["01: -[m] copy[a b]"]);
        let alone: &[(u32, &[(&str, u64)])] = &[(1, &[("a", 1)])];
        assert_eq!(told(&merged, alone, 2), ["01: -[m] copy[a]"]);
        let mut large = present.clone();
        large[0].size = MOST_BYTES;
        assert!(told(&large, same, 2).is_empty(), "large files are left alone");
    }
}

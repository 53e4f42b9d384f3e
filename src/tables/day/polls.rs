//! The polls of a call: an id for each, and the number of its votes. Pure.

use std::collections::{HashMap, HashSet};

use super::references::drop_duplicates;
use crate::lake::table::Table;
use crate::lake::table::builtin::{poll_votes, polls};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;
use crate::tables::report::people::surrogate_id;

/// The number of votes of each poll of a call, by the poll's id.
pub(super) type VotesByPoll = HashMap<String, i64>;

/// Counts the votes of each poll.
pub(super) fn count_votes(table: &Table, rows: &[TableRow<'_>]) -> VotesByPoll {
    let mut votes = VotesByPoll::new();
    let Some(poll) = table.index(poll_votes::poll_id) else {
        return votes;
    };
    for id in rows.iter().filter_map(|row| row.cells[poll].as_text()) {
        *votes.entry(id.to_owned()).or_default() += 1;
    }
    votes
}

/// Completes the polls of a call: drops repeated ones, counts their votes, and gives an id to each that has none or that
/// has the id of another one.
pub(super) fn complete(table: &Table, call: &str, votes: &VotesByPoll, rows: &mut Vec<TableRow<'_>>) {
    let columns = table.index(polls::poll_id).zip(table.index(polls::votes_count));
    let Some((poll_id, votes_count)) = columns else {
        return;
    };
    drop_duplicates(rows, poll_id);
    let mut taken = HashSet::new();
    for (number, row) in rows.iter_mut().enumerate() {
        let id = row.cells[poll_id].as_text().map(str::to_owned);
        match id.filter(|id| taken.insert(id.clone())) {
            Some(id) if row.cells[votes_count] == Cell::Null => {
                row.cells[votes_count] = votes.get(&id).copied().unwrap_or(0).into();
            }
            Some(_) => {}
            None => row.cells[poll_id] = surrogate_id(&format!("{call}/{number}")).into(),
        }
    }
}

//! Erases people from the rows of tables whose raw reports are gone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListBuilder, RecordBatch, StringBuilder};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use bytes::Bytes;

use super::traces::Traces;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::table::builtin::{call, lesson_attendance, participants};
use crate::tables::parquet::read::{RowBatch, read_rows};
use crate::tables::privacy::words::{NameMeaning, meaning};

/// The values by which the tables name the people to erase: as they are, and as pseudonyms.
#[derive(Clone, Default)]
pub struct PersonIds {
    /// Ids in the LMS.
    pub users: BTreeSet<String>,
    /// Ids of participants.
    pub participants: BTreeSet<String>,
    /// E-mail addresses in lower case, and their pseudonyms.
    pub emails: BTreeSet<String>,
}

/// The people to erase, as the tables of a day name them.
#[derive(Clone, Default)]
pub struct PeopleOfDay {
    ids: PersonIds,
    /// Ids of participants, by call.
    by_call: BTreeMap<String, BTreeSet<String>>,
    traces: Traces,
}

impl PeopleOfDay {
    /// People of whom no row was found in the table of participants.
    pub fn of(ids: &PersonIds) -> Self {
        let mut people = Self {
            ids: ids.clone(),
            ..Self::default()
        };
        people.traces.users.clone_from(&ids.users);
        people
    }

    /// Finds the people in the table of participants of a day, and in its attendance; none if neither has them.
    ///
    /// # Errors
    /// `Store` if a file is not Parquet.
    pub fn find(
        ids: &PersonIds,
        participants: Option<Bytes>,
        attendance: Option<Bytes>,
    ) -> Result<Option<Self>> {
        let mut people = Self::of(ids);
        let mut found = false;
        if let Some(file) = participants {
            let columns = [
                call::call_id,
                participants::participant_id,
                participants::external_user_id,
                participants::email,
                participants::name,
            ];
            for rows in read_rows(file, &columns)? {
                for at in 0..rows.rows() {
                    found |= people.learn(&rows, at);
                }
            }
        }
        if let (Some(file), false) = (attendance, found) {
            let columns = [
                lesson_attendance::external_user_id,
                lesson_attendance::teacher_ids,
            ];
            for rows in read_rows(file, &columns)? {
                for at in 0..rows.rows() {
                    let user = rows.text(columns[0], at);
                    let mut users = user.into_iter().chain(rows.texts(columns[1], at));
                    found |= users.any(|id| ids.users.contains(id));
                }
            }
        }
        Ok(found.then_some(people))
    }

    fn learn(&mut self, rows: &RowBatch, at: usize) -> bool {
        let [call, participant, user, email, name] = [
            call::call_id,
            participants::participant_id,
            participants::external_user_id,
            participants::email,
            participants::name,
        ]
        .map(|column| rows.text(column, at));
        let is_one = user.is_some_and(|id| self.ids.users.contains(id))
            || participant.is_some_and(|id| self.ids.participants.contains(id))
            || email.is_some_and(|email| self.ids.emails.contains(&email.trim().to_lowercase()));
        if is_one && let (Some(call), Some(participant)) = (call, participant) {
            let of_call = self.by_call.entry(call.to_owned()).or_default();
            of_call.insert(participant.to_owned());
            self.traces.participants.insert(participant.to_owned());
            self.traces.users.extend(user.map(str::to_owned));
            self.traces
                .emails
                .extend(email.map(|email| email.trim().to_lowercase()));
            self.traces
                .names
                .extend(name.map(|name| name.trim().to_lowercase()));
        }
        is_one
    }

    /// The calls in which the people took part.
    pub fn calls(&self) -> impl Iterator<Item = &String> {
        self.by_call.keys()
    }

    /// The rows without those of the people. Values about them in rows of others become null, or leave their list.
    ///
    /// # Errors
    /// `Internal` if the rows can't be put together again.
    pub fn erase(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let stays: BooleanArray = (0..rows.num_rows())
            .map(|at| Some(!self.is_of(rows, at)))
            .collect();
        let kept = filter_record_batch(rows, &stays).map_err(|error| fault(&error))?;
        let schema = kept.schema();
        let columns = schema.fields().iter().zip(kept.columns()).map(|(field, column)| {
            match (field.name().as_str(), field.data_type()) {
                (lesson_attendance::teacher_ids, DataType::List(_)) => self.without_teachers(&kept, column),
                (lesson_attendance::teacher_names, DataType::List(_)) => self.without_teachers(&kept, column),
                ("extra", DataType::Utf8) => self.without_mentions(column),
                _ => Arc::clone(column),
            }
        });
        let columns: Vec<ArrayRef> = columns.collect();
        RecordBatch::try_new(kept.schema(), columns).map_err(|error| fault(&error))
    }

    /// True if a row is of one of the people.
    fn is_of(&self, rows: &RecordBatch, at: usize) -> bool {
        let text = |column: &str| text_at(rows, column, at);
        let is_user = || text(participants::external_user_id).is_some_and(|id| self.ids.users.contains(id));
        let is_participant = || {
            let of_call = text(call::call_id).and_then(|call| self.by_call.get(call));
            let id = text(participants::participant_id);
            id.is_some_and(|id| {
                of_call.is_some_and(|ids| ids.contains(id)) || self.ids.participants.contains(id)
            })
        };
        let is_email = || {
            text(participants::email)
                .is_some_and(|email| self.ids.emails.contains(&email.trim().to_lowercase()))
        };
        is_user() || is_participant() || is_email() || self.is_in_cells(rows, at)
    }

    /// True if the cells of a workbook's row name one of the people, and nobody else by an id.
    fn is_in_cells(&self, rows: &RecordBatch, at: usize) -> bool {
        let cells = rows.column_by_name("cells").and_then(|cells| cells.as_map_opt());
        let of_call = text_at(rows, call::call_id, at).is_some_and(|call| self.by_call.contains_key(call));
        let Some(cells) = cells.filter(|cells| cells.is_valid(at)) else {
            return false;
        };
        let entry = cells.value(at);
        let texts = [0, 1].map(|column| entry.column(column).as_string_opt::<i32>());
        let [Some(headers), Some(values)] = texts else {
            return false;
        };
        let (mut is_named, mut is_of_another) = (false, false);
        for (header, value) in headers
            .iter()
            .flatten()
            .zip(values.iter().map(Option::unwrap_or_default))
        {
            let meaning = meaning(header);
            let is_person = meaning != NameMeaning::Neutral;
            if self.traces.is_id_of(header, is_person, value) || self.traces.is_address(header, value) {
                return true;
            }
            is_named |= of_call && is_person && self.traces.has_name(value);
            is_of_another |= meaning == NameMeaning::PersonId && !value.trim().is_empty();
        }
        is_named && !is_of_another
    }

    fn without_teachers(&self, rows: &RecordBatch, column: &ArrayRef) -> ArrayRef {
        let ids = rows.column_by_name(lesson_attendance::teacher_ids);
        let lists = (
            ids.and_then(|ids| ids.as_list_opt::<i32>()),
            column.as_list_opt::<i32>(),
        );
        let (Some(ids), Some(own)) = lists else {
            return Arc::clone(column);
        };
        let DataType::List(field) = column.data_type() else {
            return Arc::clone(column);
        };
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(field));
        for at in 0..own.len() {
            if own.is_null(at) {
                builder.append_null();
                continue;
            }
            let (values, ids) = (own.value(at), ids.is_valid(at).then(|| ids.value(at)));
            let ids = ids.as_ref().and_then(|ids| ids.as_string_opt::<i32>());
            let Some(values) = values.as_string_opt::<i32>() else {
                return Arc::clone(column);
            };
            for (position, value) in values.iter().enumerate() {
                let id = ids
                    .filter(|ids| position < ids.len())
                    .map(|ids| ids.value(position));
                if !id.is_some_and(|id| self.ids.users.contains(id)) {
                    builder.values().append_option(value);
                }
            }
            builder.append(true);
        }
        Arc::new(builder.finish())
    }

    fn without_mentions(&self, column: &ArrayRef) -> ArrayRef {
        let Some(texts) = column.as_string_opt::<i32>() else {
            return Arc::clone(column);
        };
        let mut builder = StringBuilder::new();
        for text in texts {
            builder.append_option(text.filter(|text| !self.traces.is_mentioned_in(text, &BTreeSet::new())));
        }
        Arc::new(builder.finish())
    }
}

fn text_at<'r>(rows: &'r RecordBatch, column: &str, at: usize) -> Option<&'r str> {
    let column = rows.column_by_name(column)?;
    let texts = column.as_string_opt::<i32>()?;
    texts.is_valid(at).then(|| texts.value(at))
}

fn fault(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, "Parquet file", error.to_string())
}

/// True if any text of a Parquet file mentions one of the people.
///
/// # Errors
/// `Store` if the file is not Parquet.
pub fn is_mentioned_in_file(file: Bytes, traces: &Traces) -> Result<bool> {
    let mut found = false;
    crate::tables::edit_file(file, |rows| {
        found |= rows.columns().iter().any(|column| mentions(column, traces));
        Ok(rows)
    })?;
    Ok(found)
}

fn mentions(column: &ArrayRef, traces: &Traces) -> bool {
    let nested = || {
        let data = column.to_data();
        let children = data.child_data().iter().cloned();
        children
            .map(arrow::array::make_array)
            .any(|child| mentions(&child, traces))
    };
    match column.as_string_opt::<i32>() {
        Some(texts) => texts
            .iter()
            .flatten()
            .any(|text| traces.is_mentioned_in(text, &BTreeSet::new())),
        None => nested(),
    }
}

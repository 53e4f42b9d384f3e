//! Converts cells to Arrow arrays, with a builder for each column of a table. Pure.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListBuilder,
    MapBuilder, MapFieldNames, RecordBatch, StringBuilder, StructBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;

use super::cell::{Cell, PollOption, Session};
use crate::lake::table::{Table, Type, option_fields, session_fields};

/// The builders of a table.
pub(crate) struct Columns {
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
}

enum Builder {
    Text(StringBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Texts(ListBuilder<StringBuilder>),
    Sessions(ListBuilder<StructBuilder>),
    Map(MapBuilder<StringBuilder, StringBuilder>),
    Date(Date32Builder),
    Options(ListBuilder<StructBuilder>),
    Counts(MapBuilder<StringBuilder, Int64Builder>),
}

impl Columns {
    pub fn new(table: &Table) -> Self {
        Self {
            schema: table.schema(),
            builders: table
                .columns
                .iter()
                .map(|column| Builder::of(column.kind))
                .collect(),
            rows: 0,
        }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows appended since the last [`Columns::take`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends rows. Each has a cell for each column.
    pub fn append<'v>(&mut self, rows: &[impl AsRef<[Cell<'v>]>]) -> Result<(), ArrowError> {
        debug_assert!(rows.iter().all(|row| row.as_ref().len() == self.builders.len()));
        for (index, builder) in self.builders.iter_mut().enumerate() {
            builder.append_column(index, rows)?;
        }
        self.rows += rows.len();
        Ok(())
    }

    /// The rows so far as a batch. The builders are empty afterwards.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

/// The approximate size of a row in a batch, in bytes.
pub(super) fn size_of_row(cells: &[Cell<'_>]) -> usize {
    cells.iter().map(size).sum()
}

fn size(cell: &Cell<'_>) -> usize {
    8 + match cell {
        Cell::Text(text) => text.len(),
        Cell::Texts(texts) => texts.iter().map(|text| text.len() + 4).sum(),
        Cell::Sessions(sessions) => 16 * sessions.len(),
        Cell::Map(entries) => entries
            .iter()
            .map(|(key, value)| key.len() + value.len() + 8)
            .sum(),
        Cell::Options(options) => {
            let texts = options.iter().flat_map(|option| [&option.id, &option.text]);
            texts.flatten().map(|text| text.len() + 8).sum()
        }
        Cell::Counts(counts) => counts.iter().map(|(key, _)| key.len() + 16).sum(),
        _ => 0,
    }
}

impl Builder {
    fn of(kind: Type) -> Self {
        let timestamps = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
        match kind {
            Type::String | Type::Json => Self::Text(StringBuilder::new()),
            Type::Int64 => Self::Int(Int64Builder::new()),
            Type::Double => Self::Double(Float64Builder::new()),
            Type::Bool => Self::Bool(BooleanBuilder::new()),
            Type::Timestamp => Self::Time(timestamps()),
            Type::Strings => Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(Field::new(
                "element",
                DataType::Utf8,
                true,
            ))),
            Type::Sessions => {
                let fields = session_fields();
                let session = StructBuilder::new(
                    fields.clone(),
                    vec![
                        Box::new(timestamps()) as Box<dyn ArrayBuilder>,
                        Box::new(timestamps()),
                    ],
                );
                let element = Field::new("element", DataType::Struct(fields), true);
                Self::Sessions(ListBuilder::new(session).with_field(element))
            }
            Type::Map => Self::Map(map_builder(StringBuilder::new())),
            Type::Date => Self::Date(Date32Builder::new()),
            Type::Options => {
                let fields = option_fields();
                let option = StructBuilder::new(
                    fields.clone(),
                    vec![
                        Box::new(StringBuilder::new()) as Box<dyn ArrayBuilder>,
                        Box::new(StringBuilder::new()),
                        Box::new(BooleanBuilder::new()),
                    ],
                );
                let element = Field::new("element", DataType::Struct(fields), true);
                Self::Options(ListBuilder::new(option).with_field(element))
            }
            Type::Counts => Self::Counts(map_builder(Int64Builder::new())),
        }
    }

    /// Appends the cells of a column. The texts of the call itself are the same in all rows of a call, so that runs of the
    /// same text are appended at once.
    fn append_column<'v>(&mut self, index: usize, rows: &[impl AsRef<[Cell<'v>]>]) -> Result<(), ArrowError> {
        let Self::Text(builder) = self else {
            return rows.iter().try_for_each(|row| self.append(&row.as_ref()[index]));
        };
        for run in rows.chunk_by(|a, b| is_same_text(&a.as_ref()[index], &b.as_ref()[index])) {
            match &run[0].as_ref()[index] {
                Cell::Text(text) => builder.append_value_n(text, run.len()),
                Cell::Null => builder.append_nulls(run.len()),
                cell => return Err(misfit(cell)),
            }
        }
        Ok(())
    }

    fn append(&mut self, cell: &Cell<'_>) -> Result<(), ArrowError> {
        match (self, cell) {
            (Self::Int(builder), Cell::Int(number)) => builder.append_value(*number),
            (Self::Int(builder), Cell::Null) => builder.append_null(),
            (Self::Double(builder), Cell::Double(number)) => builder.append_value(*number),
            (Self::Double(builder), Cell::Null) => builder.append_null(),
            (Self::Bool(builder), Cell::Bool(truth)) => builder.append_value(*truth),
            (Self::Bool(builder), Cell::Null) => builder.append_null(),
            (Self::Time(builder), Cell::Time(micros)) => builder.append_value(*micros),
            (Self::Time(builder), Cell::Null) => builder.append_null(),
            (Self::Texts(builder), Cell::Texts(texts)) => {
                builder.append_value(texts.iter().map(|text| Some(text.as_ref())));
            }
            (Self::Texts(builder), Cell::Null) => builder.append_null(),
            (Self::Sessions(builder), Cell::Sessions(sessions)) => append_sessions(builder, sessions)?,
            (Self::Sessions(builder), Cell::Null) => builder.append_null(),
            (Self::Map(builder), Cell::Map(entries)) => {
                for (key, value) in entries {
                    builder.keys().append_value(key);
                    builder.values().append_value(value);
                }
                builder.append(true)?;
            }
            (Self::Map(builder), Cell::Null) => builder.append(false)?,
            (Self::Date(builder), Cell::Date(days)) => builder.append_value(*days),
            (Self::Date(builder), Cell::Null) => builder.append_null(),
            (Self::Options(builder), Cell::Options(options)) => append_options(builder, options)?,
            (Self::Options(builder), Cell::Null) => builder.append_null(),
            (Self::Counts(builder), Cell::Counts(counts)) => {
                for (key, count) in counts {
                    builder.keys().append_value(key);
                    builder.values().append_value(*count);
                }
                builder.append(true)?;
            }
            (Self::Counts(builder), Cell::Null) => builder.append(false)?,
            (_, cell) => return Err(misfit(cell)),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => {
                // The next batch has about as many texts of about the same length.
                let next = StringBuilder::with_capacity(builder.len(), builder.values_slice().len());
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Texts(builder) => Arc::new(builder.finish()),
            Self::Sessions(builder) => Arc::new(builder.finish()),
            Self::Map(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Options(builder) => Arc::new(builder.finish()),
            Self::Counts(builder) => Arc::new(builder.finish()),
        }
    }
}

fn map_builder<V: ArrayBuilder>(values: V) -> MapBuilder<StringBuilder, V> {
    let names = MapFieldNames {
        entry: "key_value".into(),
        key: "key".into(),
        value: "value".into(),
    };
    MapBuilder::new(Some(names), StringBuilder::new(), values)
}

fn append_options(
    builder: &mut ListBuilder<StructBuilder>,
    options: &[PollOption<'_>],
) -> Result<(), ArrowError> {
    let missing = || ArrowError::SchemaError("an option has two texts and a truth value".into());
    for option in options {
        let values = builder.values();
        for (field, text) in [&option.id, &option.text].into_iter().enumerate() {
            let texts = values.field_builder::<StringBuilder>(field).ok_or_else(missing)?;
            texts.append_option(text.as_deref());
        }
        let truths = values.field_builder::<BooleanBuilder>(2).ok_or_else(missing)?;
        truths.append_option(option.is_right);
        values.append(true);
    }
    builder.append(true);
    Ok(())
}

fn append_sessions(builder: &mut ListBuilder<StructBuilder>, sessions: &[Session]) -> Result<(), ArrowError> {
    let missing = || ArrowError::SchemaError("a session has two instants".into());
    for session in sessions {
        let values = builder.values();
        let instants = [Some(session.joined), session.left];
        for (field, instant) in instants.into_iter().enumerate() {
            values
                .field_builder::<TimestampMicrosecondBuilder>(field)
                .ok_or_else(missing)?
                .append_option(instant);
        }
        values.append(true);
    }
    builder.append(true);
    Ok(())
}

/// True if two cells are null or the very same text, without looking into it.
fn is_same_text(a: &Cell<'_>, b: &Cell<'_>) -> bool {
    match (a, b) {
        (Cell::Text(a), Cell::Text(b)) => std::ptr::eq::<str>(&**a, &**b),
        (Cell::Null, Cell::Null) => true,
        _ => false,
    }
}

/// The error of a cell that does not fit its column.
fn misfit(cell: &Cell<'_>) -> ArrowError {
    let message = format!("a cell does not have the type of its column: {}", kind_of(cell));
    ArrowError::SchemaError(message)
}

/// The kind of a cell. A value must not appear in an error.
fn kind_of(cell: &Cell<'_>) -> &'static str {
    match cell {
        Cell::Null => "null",
        Cell::Text(_) => "text",
        Cell::Int(_) => "integer",
        Cell::Double(_) => "double",
        Cell::Bool(_) => "bool",
        Cell::Time(_) => "instant",
        Cell::Texts(_) => "texts",
        Cell::Sessions(_) => "sessions",
        Cell::Map(_) => "map",
        Cell::Date(_) => "date",
        Cell::Options(_) => "options",
        Cell::Counts(_) => "counts",
    }
}

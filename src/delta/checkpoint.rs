//! A checkpoint: the state of a table's log as Parquet, so that readers need not read every commit. Pure.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListBuilder, MapArray, MapBuilder,
    MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::action::{Action, Add, Format, Metadata, Names, Protocol, Remove};

/// The columns of a checkpoint that are read.
const COLUMNS: [&str; 4] = ["protocol", "metaData", "add", "remove"];

/// Writes actions as a checkpoint. A row has one action.
///
/// # Errors
/// Only a fault of the program itself.
pub(crate) fn encode(actions: &[Action]) -> Result<Bytes, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let transaction = DataType::Struct(Fields::from(vec![
        Field::new("appId", DataType::Utf8, true),
        Field::new("version", DataType::Int64, true),
        Field::new("lastUpdated", DataType::Int64, true),
    ]));
    let columns: [(&str, ArrayRef); 5] = [
        ("txn", new_null_array(&transaction, actions.len())),
        ("protocol", protocols(actions)),
        ("metaData", metadata(actions)),
        ("add", adds(actions)),
        ("remove", removes(actions)),
    ];
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, column)| Arc::clone(column)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| failed(&error))?;
    let level = ZstdLevel::try_new(3).map_err(|error| failed(&error))?;
    let properties = WriterProperties::builder()
        .set_created_by("telelake".into())
        .set_compression(Compression::ZSTD(level))
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(|error| failed(&error))?;
    writer.write(&batch).map_err(|error| failed(&error))?;
    Ok(writer.into_inner().map_err(|error| failed(&error))?.into())
}

/// A column of structs: null in the rows whose action is another one.
fn structs<T>(rows: &[Option<T>], fields: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let valid = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let (fields, arrays): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    Arc::new(StructArray::new(fields.into(), arrays, Some(valid)))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn flags(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

fn maps<'a>(values: impl Iterator<Item = Option<&'a Names>>) -> ArrayRef {
    let names = MapFieldNames {
        entry: "key_value".into(),
        key: "key".into(),
        value: "value".into(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for map in values {
        for (key, value) in map.into_iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(value.as_deref());
        }
        // It fails only if there are more keys than values.
        let _ = builder.append(map.is_some());
    }
    Arc::new(builder.finish())
}

fn protocols(actions: &[Action]) -> ArrayRef {
    let rows: Vec<_> = actions.iter().map(|action| action.protocol).collect();
    let versions = |of: fn(&Protocol) -> i32| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| row.as_ref().map(of))
                .collect::<Int32Array>(),
        )
    };
    let fields = vec![
        ("minReaderVersion", versions(|row| row.min_reader_version)),
        ("minWriterVersion", versions(|row| row.min_writer_version)),
    ];
    structs(&rows, fields)
}

fn metadata(actions: &[Action]) -> ArrayRef {
    let rows: Vec<_> = actions.iter().map(|action| action.metadata.as_ref()).collect();
    let text = |of: fn(&Metadata) -> Option<&str>| texts(rows.iter().map(|row| row.and_then(of)));
    let providers = texts(rows.iter().map(|row| row.map(|row| row.format.provider.as_str())));
    let options = maps(rows.iter().map(|row| row.map(|_| &EMPTY)));
    let mut columns = ListBuilder::new(StringBuilder::new());
    let mut settings = Vec::new();
    for row in &rows {
        for column in row.iter().flat_map(|row| &row.partition_columns) {
            columns.values().append_value(column);
        }
        columns.append(row.is_some());
        settings.push(row.map(|row| {
            let settings = row.configuration.iter();
            settings
                .map(|(key, value)| (key.clone(), Some(value.clone())))
                .collect::<Names>()
        }));
    }
    let fields = vec![
        ("id", text(|row| Some(&row.id))),
        ("name", text(|row| row.name.as_deref())),
        ("description", text(|row| row.description.as_deref())),
        (
            "format",
            structs(&rows, vec![("provider", providers), ("options", options)]),
        ),
        ("schemaString", text(|row| Some(&row.schema_string))),
        ("partitionColumns", Arc::new(columns.finish())),
        ("configuration", maps(settings.iter().map(Option::as_ref))),
        (
            "createdTime",
            numbers(rows.iter().map(|row| row.and_then(|row| row.created_time))),
        ),
    ];
    structs(&rows, fields)
}

/// The options of Parquet: there are none.
static EMPTY: Names = Names::new();

fn adds(actions: &[Action]) -> ArrayRef {
    let rows: Vec<_> = actions.iter().map(|action| action.add.as_ref()).collect();
    let number = |of: fn(&Add) -> i64| numbers(rows.iter().map(|row| row.map(of)));
    let fields = vec![
        (
            "path",
            texts(rows.iter().map(|row| row.map(|row| row.path.as_str()))),
        ),
        (
            "partitionValues",
            maps(rows.iter().map(|row| row.map(|row| &row.partition_values))),
        ),
        ("size", number(|row| row.size)),
        ("modificationTime", number(|row| row.modification_time)),
        ("dataChange", flags(rows.iter().map(|row| row.map(|_| false)))),
        (
            "stats",
            texts(rows.iter().map(|row| row.and_then(|row| row.stats.as_deref()))),
        ),
        (
            "tags",
            maps(rows.iter().map(|row| row.and_then(|row| row.tags.as_ref()))),
        ),
    ];
    structs(&rows, fields)
}

fn removes(actions: &[Action]) -> ArrayRef {
    let rows: Vec<_> = actions.iter().map(|action| action.remove.as_ref()).collect();
    let number = |of: fn(&Remove) -> Option<i64>| numbers(rows.iter().map(|row| row.and_then(of)));
    let fields = vec![
        (
            "path",
            texts(rows.iter().map(|row| row.map(|row| row.path.as_str()))),
        ),
        ("deletionTimestamp", number(|row| row.deletion_timestamp)),
        ("dataChange", flags(rows.iter().map(|row| row.map(|_| false)))),
        (
            "extendedFileMetadata",
            flags(
                rows.iter()
                    .map(|row| row.and_then(|row| row.extended_file_metadata)),
            ),
        ),
        (
            "partitionValues",
            maps(
                rows.iter()
                    .map(|row| row.and_then(|row| row.partition_values.as_ref())),
            ),
        ),
        ("size", number(|row| row.size)),
    ];
    structs(&rows, fields)
}

/// Reads the actions of a checkpoint, also of one that another program wrote.
///
/// # Errors
/// The reason why it is no checkpoint.
pub(crate) fn decode(file: Bytes) -> Result<Vec<Action>, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    // The types are those of Parquet, whatever Arrow types its writer had.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| failed(&error))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let reader = builder
        .with_projection(mask)
        .build()
        .map_err(|error| failed(&error))?;
    let mut actions = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| failed(&error))?;
        let column = |name: &str| StructRows::of(batch.column_by_name(name));
        let (protocol, metadata, add, remove) = (
            column("protocol"),
            column("metaData"),
            column("add"),
            column("remove"),
        );
        for row in 0..batch.num_rows() {
            let action = Action {
                commit_info: None,
                protocol: protocol.at(row, read_protocol)?,
                metadata: metadata.at(row, read_metadata)?,
                add: add.at(row, read_add)?,
                remove: remove.at(row, read_remove)?,
            };
            if action != Action::default() {
                actions.push(action);
            }
        }
    }
    Ok(actions)
}

/// A column of structs that a file may lack.
struct StructRows<'a>(Option<&'a StructArray>);

impl<'a> StructRows<'a> {
    fn of(column: Option<&'a ArrayRef>) -> Self {
        Self(column.and_then(|column| column.as_struct_opt()))
    }

    /// The value of a row; `None` if the row has none.
    fn at<T>(&self, row: usize, read: fn(&StructRow<'_>) -> Option<T>) -> Result<Option<T>, String> {
        let Some(rows) = self.0.filter(|rows| rows.is_valid(row)) else {
            return Ok(None);
        };
        let value = read(&StructRow { rows, row });
        value
            .map(Some)
            .ok_or_else(|| format!("row {row} lacks a field that the protocol demands"))
    }
}

/// A row of a column of structs.
struct StructRow<'a> {
    rows: &'a StructArray,
    row: usize,
}

impl StructRow<'_> {
    fn field(&self, name: &str) -> Option<&ArrayRef> {
        self.rows
            .column_by_name(name)
            .filter(|column| column.is_valid(self.row))
    }

    fn text(&self, name: &str) -> Option<String> {
        let column = self.field(name)?.as_string_opt::<i32>()?;
        Some(column.value(self.row).to_owned())
    }

    fn number(&self, name: &str) -> Option<i64> {
        let column = self.field(name)?.as_primitive_opt::<Int64Type>()?;
        Some(column.value(self.row))
    }

    fn version(&self, name: &str) -> Option<i32> {
        let column = self.field(name)?.as_primitive_opt::<Int32Type>()?;
        Some(column.value(self.row))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        Some(self.field(name)?.as_boolean_opt()?.value(self.row))
    }

    fn names(&self, name: &str) -> Option<Names> {
        let column: &MapArray = self.field(name)?.as_map_opt()?;
        let entries = column.value(self.row);
        let keys = entries.column(0).as_string_opt::<i32>()?;
        let values = entries.column(1).as_string_opt::<i32>()?;
        let keys = keys.iter().flatten().map(str::to_owned);
        Some(
            keys.zip(values.iter().map(|value| value.map(str::to_owned)))
                .collect(),
        )
    }
}

fn read_protocol(row: &StructRow<'_>) -> Option<Protocol> {
    Some(Protocol {
        min_reader_version: row.version("minReaderVersion")?,
        min_writer_version: row.version("minWriterVersion")?,
    })
}

fn read_metadata(row: &StructRow<'_>) -> Option<Metadata> {
    let columns = row
        .field("partitionColumns")?
        .as_list_opt::<i32>()?
        .value(row.row);
    let columns = columns.as_string_opt::<i32>()?;
    let settings = row.names("configuration").unwrap_or_default().into_iter();
    Some(Metadata {
        id: row.text("id")?,
        name: row.text("name"),
        description: row.text("description"),
        format: Format {
            provider: "parquet".into(),
            options: std::collections::BTreeMap::new(),
        },
        schema_string: row.text("schemaString")?,
        partition_columns: columns.iter().flatten().map(str::to_owned).collect(),
        configuration: settings.filter_map(|(key, value)| Some((key, value?))).collect(),
        created_time: row.number("createdTime"),
    })
}

fn read_add(row: &StructRow<'_>) -> Option<Add> {
    Some(Add {
        path: row.text("path")?,
        partition_values: row.names("partitionValues")?,
        size: row.number("size")?,
        modification_time: row.number("modificationTime")?,
        data_change: false,
        stats: row.text("stats"),
        tags: row.names("tags"),
    })
}

fn read_remove(row: &StructRow<'_>) -> Option<Remove> {
    Some(Remove {
        path: row.text("path")?,
        deletion_timestamp: row.number("deletionTimestamp"),
        data_change: false,
        extended_file_metadata: row.flag("extendedFileMetadata"),
        partition_values: row.names("partitionValues"),
        size: row.number("size"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::action::PROTOCOL;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let metadata = Metadata {
            id: "an id".into(),
            name: Some("calls".into()),
            description: None,
            format: Format {
                provider: "parquet".into(),
                options: std::collections::BTreeMap::new(),
            },
            schema_string: "{}".into(),
            partition_columns: vec!["date".into()],
            configuration: [("delta.x".to_owned(), "1".to_owned())].into(),
            created_time: Some(5),
        };
        let add = |path: &str, date: Option<&str>, tags: Option<Names>| Add {
            path: path.into(),
            partition_values: [("date".to_owned(), date.map(str::to_owned))].into(),
            size: 7,
            modification_time: 1,
            data_change: false,
            stats: tags.as_ref().map(|_| "{}".into()),
            tags,
        };
        let tags = [("a".to_owned(), Some("b".to_owned())), ("c".to_owned(), None)];
        let with_tags = add("date=2026-11-22/s.parquet", Some("2026-11-22"), Some(tags.into()));
        let removed = with_tags.removed(9, false);
        let actions = [
            PROTOCOL.into(),
            metadata.into(),
            with_tags.into(),
            add("x.parquet", None, None).into(),
            removed.into(),
        ];
        let file = encode(&actions).expect("Parquet");
        assert_eq!(decode(file.clone()).expect("a checkpoint"), actions);
        assert!(decode(file.slice(4..)).is_err());
    }
}

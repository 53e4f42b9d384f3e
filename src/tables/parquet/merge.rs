//! Joins several files of a table into one file. Pure; called by `delta`.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::sink::file_writer;
use crate::lake::table::{Table, Type};

/// The rows of some files of a table, in the order of the files, as a single file. A column that a file lacks is null in
/// its rows.
///
/// # Errors
/// The reason why the files don't fit together: one is damaged, or has a column of another type than the table.
pub fn merge_files(table: &Table, files: impl IntoIterator<Item = Bytes>) -> Result<Bytes, String> {
    let schema = table.schema();
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    // Rows of several files are not sorted as a whole. The schema stands in the log of the Delta table, and a reader of many
    // files would read it in each of them.
    let json = table.columns.iter().filter(|column| column.kind == Type::Json);
    let json = json.map(|column| &*column.name);
    let mut writer = file_writer(&schema, None, json, false).map_err(|error| failed(&error))?;
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(&error))?;
        for batch in reader.build().map_err(|error| failed(&error))? {
            let batch = conform(&batch.map_err(|error| failed(&error))?, &schema)?;
            writer.write(&batch).map_err(|error| failed(&error))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(bytes.into())
}

/// The rows of a batch with the columns of a schema.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let column = |field: &arrow::datatypes::FieldRef| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => Err(format!(
            "column {} is {} in a file, not {}",
            field.name(),
            column.data_type(),
            field.data_type()
        )),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema
        .fields()
        .iter()
        .map(column)
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::{Column, PersonalData, builtin};
    use crate::tables::{Footer, Mapping, build_rooms, footer, read_text};

    fn rooms(names: &[&str]) -> Bytes {
        let rooms = names
            .iter()
            .map(|name| ((*name).to_owned(), (&serde_json::json!({"name": "Урок"})).into()))
            .collect();
        let mapping = Mapping::builtin().expect("the built-in mapping");
        let file = build_rooms(&"space".into(), &rooms, &mapping).expect("builds");
        file.expect("has rows").bytes
    }

    #[test]
    fn rows_follow_one_another_and_a_column_that_a_file_lacks_is_null() {
        let mut table = builtin::rooms::table().clone();
        table.columns.push(Column {
            name: "later".into(),
            kind: Type::Map,
            doc: "A column that came later".into(),
            key: false,
            personal: PersonalData::No,
        });
        let merged = merge_files(&table, [rooms(&["b", "c"]), rooms(&["a"])]).expect("fits");
        assert_eq!(footer(&merged, merged.len() as u64), Ok(Footer::Rows(3)));
        let read = read_text(merged, &["room_id", "name", "later"]).expect("readable");
        assert_eq!(read, [["b", "Урок", ""], ["c", "Урок", ""], ["a", "Урок", ""]]);
    }

    #[test]
    fn a_file_with_a_column_of_another_type_is_refused() {
        let mut table = builtin::rooms::table().clone();
        table.columns.retain(|column| column.name != "name");
        table.columns.push(Column {
            name: "name".into(),
            kind: Type::Int64,
            doc: "A number".into(),
            key: false,
            personal: PersonalData::No,
        });
        let refused = merge_files(&table, [rooms(&["a"])]).expect_err("does not fit");
        assert!(refused.contains("column name is Utf8"), "{refused}");
        assert!(merge_files(&table, [Bytes::from_static(b"PAR1")]).is_err());
    }
}

//! Reads from a table's file how many rows it has, and their keys. Pure; called by `verify`.

use arrow::array::{Array, StringArray};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use sha2::{Digest, Sha256};

use crate::lake::table::Table;

/// The digest of a row's key, long enough that no two keys of a lake collide.
pub type RowKey = [u8; 12];

/// The content of a Parquet file's footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footer {
    /// The number of rows in the file.
    Rows(u64),
    /// The number of bytes at the end of the file that are needed to tell.
    Needs(usize),
}

/// Reads a Parquet file's footer. `tail` holds its last bytes, and `size` is the size of the whole file.
///
/// # Errors
/// The reason why it is not Parquet.
pub fn footer(tail: &Bytes, size: u64) -> Result<Footer, String> {
    let mut reader = ParquetMetaDataReader::new();
    match reader.try_parse_sized(tail, size) {
        Ok(()) => {}
        Err(ParquetError::NeedMoreData(needed)) if needed > tail.len() => return Ok(Footer::Needs(needed)),
        Err(error) => return Err(error.to_string()),
    }
    let metadata = reader.finish().map_err(|error| error.to_string())?;
    u64::try_from(metadata.file_metadata().num_rows())
        .map(Footer::Rows)
        .map_err(|_| "its number of rows is negative".into())
}

/// The keys of a file's rows, in its order; none for a table without a key.
///
/// # Errors
/// The reason why the file can't be read.
pub fn row_keys(table: &Table, file: Bytes) -> Result<Vec<RowKey>, String> {
    let names: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| column.key)
        .map(|column| column.name.as_ref())
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| told(&e))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
    let batches = builder.with_projection(mask).build().map_err(|e| told(&e))?;
    let mut keys = Vec::new();
    for batch in batches {
        let batch = batch.map_err(|e| told(&e))?;
        let columns = names
            .iter()
            .map(|name| {
                let column = batch.column_by_name(name);
                let texts = column.and_then(|column| column.as_any().downcast_ref::<StringArray>());
                texts.ok_or_else(|| format!("it has no text column {name}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        keys.extend((0..batch.num_rows()).map(|row| row_key(columns.iter().map(|texts| texts.value(row)))));
    }
    Ok(keys)
}

fn row_key<'v>(parts: impl Iterator<Item = &'v str>) -> RowKey {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut key = RowKey::default();
    key.copy_from_slice(&hasher.finalize()[..12]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::builtin;
    use crate::tables::{Mapping, build_rooms};
    use serde_json::json;

    fn rooms(count: usize) -> Bytes {
        let rooms = (0..count)
            .map(|n| (format!("room {n}"), (&json!({"name": "Урок"})).into()))
            .collect();
        let mapping = Mapping::builtin().expect("the built-in mapping");
        let file = build_rooms(&"space".into(), &rooms, &mapping).expect("builds");
        file.expect("has rows").bytes
    }

    #[test]
    fn rows_are_counted_from_the_end_of_the_file_alone() {
        let file = rooms(7);
        let size = file.len() as u64;
        assert_eq!(footer(&file, size), Ok(Footer::Rows(7)));
        let tail = file.slice(file.len() - 8..);
        let Ok(Footer::Needs(needed)) = footer(&tail, size) else {
            panic!("eight bytes say how many are needed");
        };
        assert_eq!(
            footer(&file.slice(file.len() - needed..), size),
            Ok(Footer::Rows(7))
        );
        let cut = file.slice(..file.len() - 1);
        assert!(footer(&cut, cut.len() as u64).is_err());
        assert!(footer(&Bytes::new(), 0).is_err());
    }

    #[test]
    fn each_row_has_its_own_key_and_the_same_one_in_every_file() {
        let table = builtin::rooms::table();
        let (five, seven) = (row_keys(table, rooms(5)), row_keys(table, rooms(7)));
        let (five, seven) = (five.expect("readable"), seven.expect("readable"));
        assert_eq!(five[..], seven[..5]);
        let mut distinct = seven.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 7);
        assert_ne!(row_key(["a", "bc"].into_iter()), row_key(["ab", "c"].into_iter()));
        assert!(row_keys(table, Bytes::from_static(b"PAR1")).is_err());
    }
}

//! The statistics of a data file, by which readers skip files. Pure.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics as ColumnStatistics;
use serde_json::{Map, Value, json};

use crate::lake::table::{Column, Table, Type};

/// The statistics of a Parquet file as the JSON text that the protocol wants: the number of rows, and the smallest and
/// largest value and the number of nulls of the columns that filters name.
///
/// # Errors
/// The reason why the file is not Parquet.
pub(crate) fn statistics(table: &Table, file: &Bytes) -> Result<String, String> {
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(file)
        .map_err(|error| error.to_string())?;
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in table.columns.iter().filter(|column| is_skipped_by(table, column)) {
        let Some(bounds) = Bounds::of(&metadata, column) else {
            continue;
        };
        nulls.insert(column.name.to_string(), bounds.nulls.into());
        if let Some((min, max)) = bounds.range {
            least.insert(column.name.to_string(), min);
            greatest.insert(column.name.to_string(), max);
        }
    }
    let rows = metadata.file_metadata().num_rows();
    let statistics = json!({
        "numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls,
    });
    Ok(statistics.to_string())
}

/// True for a column that filters name: of the key, of the order, an id, or a time.
fn is_skipped_by(table: &Table, column: &Column) -> bool {
    match column.kind {
        Type::Timestamp | Type::Date => true,
        Type::String => column.key || column.name.ends_with("_id") || table.order.contains(&column.name),
        _ => false,
    }
}

/// The values of a column.
struct Bounds {
    nulls: u64,
    /// The smallest and the largest value, if all are known exactly.
    range: Option<(Value, Value)>,
}

impl Bounds {
    /// The values of a column over all row groups; `None` if the file has no such column, or does not say.
    fn of(metadata: &ParquetMetaData, column: &Column) -> Option<Self> {
        let leaf = metadata
            .file_metadata()
            .schema_descr()
            .columns()
            .iter()
            .position(|leaf| leaf.path().parts() == [column.name.as_ref()])?;
        let (mut nulls, mut rows) = (0, 0);
        let mut texts: Option<(String, String)> = None;
        let mut numbers: Option<(i64, i64)> = None;
        for group in metadata.row_groups() {
            let found = group.column(leaf).statistics()?;
            let nulls_here = found.null_count_opt()?;
            nulls += nulls_here;
            let rows_here = u64::try_from(group.num_rows()).ok()?;
            rows += rows_here;
            if nulls_here == rows_here {
                continue;
            }
            match column.kind {
                Type::Timestamp | Type::Date => {
                    let (min, max) = numbers_of(found)?;
                    numbers = Some(numbers.map_or((min, max), |(a, b)| (a.min(min), b.max(max))));
                }
                _ => {
                    let (min, max) = texts_of(found)?;
                    texts = Some(match texts {
                        Some((a, b)) => (a.min(min), b.max(max)),
                        None => (min, max),
                    });
                }
            }
        }
        let is_date = column.kind == Type::Date;
        let text = |number: i64, up: bool| {
            if is_date {
                date(number)
            } else {
                instant(number, up)
            }
        };
        let numbers =
            numbers.and_then(|(min, max)| Some((text(min, false)?.into(), text(max, true)?.into())));
        let texts = texts.map(|(min, max)| (min.into(), max.into()));
        let range = numbers.or(texts);
        (range.is_some() || nulls == rows).then_some(Self { nulls, range })
    }
}

fn numbers_of(found: &ColumnStatistics) -> Option<(i64, i64)> {
    match found {
        ColumnStatistics::Int32(found) => Some(((*found.min_opt()?).into(), (*found.max_opt()?).into())),
        ColumnStatistics::Int64(found) => Some((*found.min_opt()?, *found.max_opt()?)),
        _ => None,
    }
}

/// The bounds of texts; `None` if they are cut.
fn texts_of(found: &ColumnStatistics) -> Option<(String, String)> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match found {
        ColumnStatistics::ByteArray(found) if found.min_is_exact() && found.max_is_exact() => {
            Some((text(found.min_opt()?.data())?, text(found.max_opt()?.data())?))
        }
        _ => None,
    }
}

/// An instant in microseconds as text to the millisecond, the precision that every reader knows: rounded down, or up.
fn instant(micros: i64, up: bool) -> Option<String> {
    let whole = micros.div_euclid(1000) + i64::from(up && micros.rem_euclid(1000) != 0);
    let at: DateTime<Utc> = DateTime::from_timestamp_millis(whole)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A date as text, from the days since 1970.
fn date(days: i64) -> Option<String> {
    let at: DateTime<Utc> = DateTime::from_timestamp(days.checked_mul(86_400)?, 0)?;
    Some(at.date_naive().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::builtin;
    use crate::tables::{Mapping, build_rooms};

    #[test]
    fn ids_and_times_have_bounds_and_long_texts_have_none() {
        let rooms = [
            ("r1", "2026-11-20T09:00:00.123456Z"),
            ("r2", "2026-11-21T09:00:00.000001Z"),
        ];
        let objects = rooms.map(|(id, at)| (id.to_owned(), json!({"lastCallAt": at, "name": "x"})));
        let long = ("r3".to_owned(), json!({"appId": "a".repeat(100)}));
        let mapping = Mapping::builtin().expect("the built-in mapping");
        let objects = objects.into_iter().chain([long]);
        let objects = objects.map(|(id, object)| (id, (&object).into())).collect();
        let file = build_rooms(&"space".into(), &objects, &mapping)
            .expect("builds")
            .expect("has rows");
        let table = builtin::rooms::table();
        let told: Value =
            serde_json::from_str(&statistics(table, &file.bytes).expect("Parquet")).expect("JSON");
        assert_eq!(told["numRecords"], 3);
        assert_eq!(
            (&told["minValues"]["room_id"], &told["maxValues"]["room_id"]),
            (&json!("r1"), &json!("r3"))
        );
        assert_eq!(told["minValues"]["last_call_at"], "2026-11-20T09:00:00.123Z");
        assert_eq!(told["maxValues"]["last_call_at"], "2026-11-21T09:00:00.001Z");
        assert_eq!(told["nullCount"]["last_call_at"], 1);
        assert_eq!(told["nullCount"]["created_at"], 3);
        assert_eq!(told["maxValues"]["created_at"], Value::Null);
        assert_eq!(
            told["maxValues"]["app_id"],
            Value::Null,
            "the bound is cut in the file"
        );
        assert_eq!(told["nullCount"]["name"], Value::Null);
        assert!(statistics(table, &Bytes::from_static(b"PAR1")).is_err());
        assert_eq!(date(20_779).as_deref(), Some("2026-11-22"));
    }
}

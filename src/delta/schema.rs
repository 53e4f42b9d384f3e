//! The schema of a table in the words of Delta Lake. Pure.

use serde_json::{Value, json};

use crate::lake::table::{Column, Table, Type};

/// The partition column of the tables with a file for each day or date.
pub(crate) const DATE: &str = "date";

/// The partition columns of a table.
pub(crate) fn partition_columns(table: &Table) -> Vec<String> {
    match table.is_dated() {
        true => vec![DATE.into()],
        false => Vec::new(),
    }
}

/// The schema of a table as the JSON text that the protocol wants. A partition column is the last one. Every column may be
/// null, because a column that is added later is null in older files.
pub(crate) fn schema_string(table: &Table) -> String {
    let mut fields: Vec<Value> = table.columns.iter().map(column_field).collect();
    if table.is_dated() {
        fields.push(field(
            DATE,
            &json!("date"),
            "Date of the call's start, of the scheduled start of a lesson, or of the arrival of its data",
        ));
    }
    json!({"type": "struct", "fields": fields}).to_string()
}

fn column_field(column: &Column) -> Value {
    field(&column.name, &data_type(column.kind), &column.doc)
}

fn field(name: &str, kind: &Value, doc: &str) -> Value {
    json!({"name": name, "type": kind, "nullable": true, "metadata": {"comment": doc}})
}

fn data_type(kind: Type) -> Value {
    let array = |element: Value| json!({"type": "array", "elementType": element, "containsNull": true});
    let structs = |parts: &[(&str, &str)]| {
        let part = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind, "nullable": true, "metadata": {}});
        let fields: Vec<Value> = parts.iter().map(part).collect();
        array(json!({"type": "struct", "fields": fields}))
    };
    let map = |value: &str| json!({"type": "map", "keyType": "string", "valueType": value, "valueContainsNull": true});
    match kind {
        Type::String | Type::Json => json!("string"),
        Type::Int64 => json!("long"),
        Type::Double => json!("double"),
        Type::Bool => json!("boolean"),
        Type::Timestamp => json!("timestamp"),
        Type::Date => json!("date"),
        Type::Strings => array(json!("string")),
        Type::Sessions => structs(&[("joined_at", "timestamp"), ("left_at", "timestamp")]),
        Type::Options => structs(&[
            ("option_id", "string"),
            ("text", "string"),
            ("is_right", "boolean"),
        ]),
        Type::Map => map("string"),
        Type::Counts => map("long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::table::builtin;

    #[test]
    fn a_dated_table_is_partitioned_and_has_the_date_as_its_last_column() {
        let schema: Value =
            serde_json::from_str(&schema_string(builtin::participants::table())).expect("JSON");
        let fields = schema["fields"].as_array().expect("fields");
        assert_eq!(fields.len(), builtin::participants::table().columns.len() + 1);
        assert_eq!(fields[fields.len() - 1]["name"], DATE);
        let of = |name: &str| {
            fields
                .iter()
                .find(|field| field["name"] == name)
                .expect("a field")
        };
        assert_eq!(
            of("sessions")["type"]["elementType"]["fields"][0]["name"],
            "joined_at"
        );
        assert_eq!(of("attributes")["type"]["valueType"], "string");
        assert_eq!(of("call_id")["nullable"], true);
        assert_eq!(partition_columns(builtin::participants::table()), [DATE]);
        assert!(partition_columns(builtin::rooms::table()).is_empty());
        assert!(!schema_string(builtin::rooms::table()).contains("\"date\""));
    }
}

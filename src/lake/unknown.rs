//! The fields of an object that this version does not know. A newer version of the same layout wrote them, and they are
//! kept when the object is written back. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The field that identifies the bytes that an object describes. Unknown fields about other bytes do not apply to
/// these.
const DIGEST: &str = "sha256";

/// The unknown fields of an object and of the objects within it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnknownFields {
    fields: Map<String, Value>,
    within: BTreeMap<String, UnknownFields>,
    digest: Option<Value>,
}

impl UnknownFields {
    /// The parts of `whole` that are not in `known`, which is what this version reads and writes.
    pub fn of(whole: &Value, known: &Value) -> Self {
        let mut unknown = Self::default();
        let (Value::Object(whole), Value::Object(known)) = (whole, known) else {
            return unknown;
        };
        for (name, value) in whole {
            match known.get(name) {
                None => drop(unknown.fields.insert(name.clone(), value.clone())),
                Some(known) => {
                    let within = Self::of(value, known);
                    if !within.is_none() {
                        unknown.within.insert(name.clone(), within);
                    }
                }
            }
        }
        unknown.digest = whole.get(DIGEST).cloned();
        unknown
    }

    /// True if there are none.
    pub fn is_none(&self) -> bool {
        self.fields.is_empty() && self.within.is_empty()
    }

    /// Adds the fields to an object that is about to be written. Known fields win. Fields of an object that is gone, or
    /// that describes other bytes now, are left out.
    pub fn put_back(&self, known: &mut Value) {
        let Value::Object(known) = known else { return };
        if self.digest.is_some() && self.digest.as_ref() != known.get(DIGEST) {
            return;
        }
        for (name, value) in &self.fields {
            known.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, within) in &self.within {
            if let Some(value) = known.get_mut(name) {
                within.put_back(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_written_back_and_known_ones_win() {
        let whole = json!({"a": 1, "new": [2], "in": {"b": null, "newer": {"c": 3}}, "gone": {"newest": 4}});
        let unknown = UnknownFields::of(&whole, &json!({"a": 1, "in": {"b": null}, "gone": {}}));
        let mut written = json!({"a": 5, "in": {"b": 6}, "other": {}});
        unknown.put_back(&mut written);
        let expected = json!({"a": 5, "new": [2], "in": {"b": 6, "newer": {"c": 3}}, "other": {}});
        assert_eq!(written, expected);
        let mut later = json!({"a": 1, "new": "known by now"});
        unknown.put_back(&mut later);
        assert_eq!(later["new"], "known by now");
        assert!(UnknownFields::of(&whole, &whole).is_none());
    }

    #[test]
    fn unknown_fields_about_other_bytes_are_left_out() {
        let unknown = UnknownFields::of(
            &json!({"landed": {"sha256": "a", "crc": 1}}),
            &json!({"landed": {"sha256": "a"}}),
        );
        for (sha256, kept) in [("a", true), ("b", false)] {
            let mut written = json!({"landed": {"sha256": sha256}});
            unknown.put_back(&mut written);
            assert_eq!(written["landed"].get("crc").is_some(), kept);
        }
    }
}

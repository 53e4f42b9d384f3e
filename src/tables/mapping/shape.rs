//! The fields of an object that the mapping knows: those that a column takes, and those that hold rows of their own.
//! Pure.
//!
//! Compared with a value it gives the fields that no column takes, for the row's `extra` and for the notes.

use serde_json::{Map, Value};

use crate::tables::build_notes::{Kept, Notes};
use crate::tables::report::node::{JsonObject, Node};
use crate::tables::report::path::Step;

/// A value in an object, with the values within it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// True if a column takes this value whole.
    pub taken: bool,
    /// True if this value is a row of a table, with an `extra` of its own.
    pub row: bool,
    /// True if a condition reads this value: it is kept, and is no news.
    pub tested: bool,
    /// They are so few that a linear search is faster than hashing.
    fields: Vec<(String, Shape)>,
    each: Option<Box<Shape>>,
    /// The values of an object whose keys are data.
    values: Option<Box<Shape>>,
}

impl Shape {
    /// The shape at the end of `steps`, which is added if it is missing.
    pub fn insert(&mut self, steps: &[Step]) -> &mut Self {
        steps.iter().fold(self, |shape, step| match step {
            Step::Field(name) => shape.insert_field(name),
            Step::Each => shape.each.get_or_insert_default(),
            Step::Values => shape.values.get_or_insert_default(),
        })
    }

    fn insert_field(&mut self, name: &str) -> &mut Self {
        let known = self.fields.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or_else(|| {
            self.fields.push((name.to_owned(), Self::default()));
            self.fields.len() - 1
        });
        &mut self.fields[at].1
    }

    fn field(&self, name: &str) -> Option<&Self> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, shape)| shape)
    }

    /// The shape at the end of `steps`, if there is one.
    pub fn get(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, |shape, step| match step {
            Step::Field(name) => shape.field(name),
            Step::Each => shape.each.as_deref(),
            Step::Values => shape.values.as_deref(),
        })
    }

    /// True if an object's field of this name may be one of those that [`Shape::rest`] looks into.
    pub fn leaves(&self, name: &str) -> bool {
        let known = self.field(name);
        self.values.is_some() || !known.is_some_and(|shape| shape.taken || shape.row)
    }

    /// The fields of an object that no column takes, without the rows inside it. Each is counted in `notes` by its
    /// path, which starts with `path`, and with the place where it is `kept`.
    pub fn rest(
        &self,
        object: &JsonObject<'_>,
        path: &mut String,
        kept: Kept,
        notes: &mut Notes,
    ) -> Map<String, Value> {
        if let Some(values) = &self.values {
            return self.rest_of_values(object, values, path, kept, notes);
        }
        let mut rest = Map::new();
        for (name, value) in object.iter() {
            let known = self.field(name);
            // Nulls are neither counted nor kept.
            if value.is_null() || known.is_some_and(|shape| shape.taken || shape.row) {
                continue;
            }
            let end = path.len();
            push(path, name);
            let left = match known {
                Some(shape) => shape.within(value, path, kept, notes),
                None => {
                    notes.unmapped(path, kept);
                    Some(value.to_value())
                }
            };
            path.truncate(end);
            if let Some(left) = left {
                rest.insert(name.as_ref().to_owned(), left);
            }
        }
        rest
    }

    /// The rest of a value that some path leads through.
    fn within(&self, value: &Node<'_>, path: &mut String, kept: Kept, notes: &mut Notes) -> Option<Value> {
        if self.tested {
            return (!value.is_null()).then(|| value.to_value());
        }
        match (value, self.each.as_ref().or(self.values.as_ref())) {
            (Node::Object(object), _) if !self.fields.is_empty() || self.values.is_some() => {
                let rest = self.rest(object, path, kept, notes);
                (!rest.is_empty()).then_some(Value::Object(rest))
            }
            (Node::List(elements), Some(each)) => {
                if each.row || each.taken {
                    return None;
                }
                let end = path.len();
                path.push_str("[]");
                let rest: Vec<Value> = elements
                    .iter()
                    .map(|element| each.within(element, path, kept, notes).unwrap_or_default())
                    .collect();
                path.truncate(end);
                (!rest.iter().all(Value::is_null)).then_some(Value::Array(rest))
            }
            (Node::Null, _) => None,
            // The value does not have the shape that the mapping expects.
            _ => {
                notes.unmapped(path, kept);
                Some(value.to_value())
            }
        }
    }

    /// The rest of an object whose keys are data.
    fn rest_of_values(
        &self,
        object: &JsonObject<'_>,
        values: &Self,
        path: &mut String,
        kept: Kept,
        notes: &mut Notes,
    ) -> Map<String, Value> {
        let mut rest = Map::new();
        for (name, value) in object.entries() {
            let field = self.field(name);
            let known = field.unwrap_or(values);
            if known.row || known.taken {
                continue;
            }
            let end = path.len();
            match field {
                Some(_) => push(path, name),
                None => path.push_str("{}"),
            }
            let left = known.within(value, path, kept, notes);
            path.truncate(end);
            if let Some(left) = left {
                rest.insert(name.as_ref().to_owned(), left);
            }
        }
        rest
    }
}

/// A sheet's column as the notes show it.
pub(crate) fn place_in(sheet: &str, header: &str) -> String {
    let plain = |name: &str| name.split_whitespace().collect::<Vec<_>>().join("_");
    let mut place = String::new();
    push(&mut place, &plain(sheet));
    place.push_str("[]");
    push(&mut place, &plain(header));
    place
}

/// Adds a field to a path. An empty name, or one that may be data (an id, an address), becomes `*`, so that the notes
/// hold nothing personal and a map by id counts as one field.
fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(if is_plain(name) { name } else { "*" });
}

/// True if a field's name does not look like data.
pub(crate) fn is_plain(name: &str) -> bool {
    (1..=40).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c))
        && !name.starts_with(|c: char| c.is_numeric())
        && name.chars().filter(char::is_ascii_digit).count() <= 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::report::path::Path;
    use serde_json::json;

    #[test]
    fn the_rest_holds_the_fields_that_no_path_takes() {
        let mut shape = Shape::default();
        for path in ["id", "user.name", "sessions[].in"] {
            shape.insert(&Path::parse(path).expect("path").steps).taken = true;
        }
        shape.insert(&Path::parse("rows[]").expect("path").steps).row = true;
        let value = json!({
            "id": 1, "user": {"name": "x", "age": 5}, "sessions": [{"in": 1}, {"in": 2, "ip": "::1"}],
            "rows": [{"own": 1}], "new": {"deep": true}, "none": null, "ivan@example.org": 1,
        });
        let mut notes = Notes::default();
        let Node::Object(object) = Node::from(&value) else {
            panic!("an object");
        };
        let rest = shape.rest(&object, &mut "p[]".to_owned(), Kept::Extra, &mut notes);
        assert_eq!(
            Value::Object(rest),
            json!({"user": {"age": 5}, "sessions": [null, {"ip": "::1"}], "new": {"deep": true}, "ivan@example.org": 1})
        );
        let counted: Vec<_> = notes.unmapped.keys().map(String::as_str).collect();
        assert_eq!(counted, ["p[].*", "p[].new", "p[].sessions[].ip", "p[].user.age"]);
    }
}

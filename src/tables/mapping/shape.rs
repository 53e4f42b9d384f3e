//! What the mapping knows of an object: which fields some column takes, which hold rows of their own. Pure.
//!
//! Held against a value it gives what no column takes: the row's `extra`, and the notes' unmapped fields.

use serde_json::{Map, Value};

use crate::tables::notes::{Kept, Notes};
use crate::tables::report::node::{Node, Object};
use crate::tables::report::path::Step;

/// A place in an object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// A column takes this value whole.
    pub taken: bool,
    /// This value is a table's row: it has an `extra` of its own.
    pub row: bool,
    /// Few enough that a search through them is quicker than hashing.
    fields: Vec<(String, Shape)>,
    each: Option<Box<Shape>>,
}

impl Shape {
    /// The place at the end of `steps`, made where it is not known yet.
    pub fn insert(&mut self, steps: &[Step]) -> &mut Self {
        steps.iter().fold(self, |shape, step| match step {
            Step::Field(name) => shape.insert_field(name),
            Step::Each => shape.each.get_or_insert_default(),
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

    /// The place at the end of `steps`, where it is known.
    pub fn get(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, |shape, step| match step {
            Step::Field(name) => shape.field(name),
            Step::Each => shape.each.as_deref(),
        })
    }

    /// What of an object no column takes, without the rows inside it; each such field is counted in `notes` by its
    /// path, which starts with `path`, as one that is `kept` there.
    pub fn rest(
        &self,
        object: &Object<'_>,
        path: &mut String,
        kept: Kept,
        notes: &mut Notes,
    ) -> Map<String, Value> {
        let mut rest = Map::new();
        for (name, value) in object.iter() {
            let known = self.field(name);
            // Nothing is no news, and nothing to keep.
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

    /// What is left of a value that some path passes through.
    fn within(&self, value: &Node<'_>, path: &mut String, kept: Kept, notes: &mut Notes) -> Option<Value> {
        match (value, &self.each) {
            (Node::Object(object), _) if !self.fields.is_empty() => {
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
            // Not of the shape that the mapping expects here.
            _ => {
                notes.unmapped(path, kept);
                Some(value.to_value())
            }
        }
    }
}

/// A sheet's column as the notes write it.
pub(crate) fn place_in(sheet: &str, header: &str) -> String {
    let plain = |name: &str| name.split_whitespace().collect::<Vec<_>>().join("_");
    let mut place = String::new();
    push(&mut place, &plain(sheet));
    place.push_str("[]");
    push(&mut place, &plain(header));
    place
}

/// Adds a field to a path. A name that may be data (an id, an address) and no name stands as `*`: the notes hold
/// nothing personal, and a map by id counts as one field.
fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let plain = name.chars().count() <= 40
        && name.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c))
        && !name.starts_with(|c: char| c.is_numeric())
        && name.chars().filter(char::is_ascii_digit).count() <= 4;
    path.push_str(if plain { name } else { "*" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::report::path::Path;
    use serde_json::json;

    #[test]
    fn the_rest_is_what_no_path_takes() {
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

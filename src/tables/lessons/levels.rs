//! The levels of lesson data: each object nested in it, at any depth. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::lenient;

/// A level above a user in a meeting: a group, a course, or a level of the school's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    /// Its key.
    pub name: String,
    /// The key of the level that encloses it.
    pub parent: Option<String>,
    /// Its depth, from 1.
    pub depth: i64,
    /// The id of its entity.
    pub id: Option<String>,
    /// The name of its entity.
    pub title: Option<String>,
    /// Its other scalar values.
    pub attributes: BTreeMap<String, String>,
}

/// The levels of lesson data, outer ones first. Objects in an array are levels under the array's key.
pub(super) fn levels(meta: &Map<String, Value>) -> Vec<Level> {
    let mut levels = Vec::new();
    walk(meta, None, 1, &mut levels);
    levels
}

fn walk(object: &Map<String, Value>, parent: Option<&str>, depth: i64, levels: &mut Vec<Level>) {
    for (name, value) in object {
        enter(name, value, parent, depth, levels);
    }
}

/// The parser limits how deep a value nests, so this ends.
fn enter(name: &str, value: &Value, parent: Option<&str>, depth: i64, levels: &mut Vec<Level>) {
    match value {
        Value::Object(inner) => {
            levels.push(level(name, parent, depth, inner));
            walk(inner, Some(name), depth + 1, levels);
        }
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| enter(name, element, parent, depth, levels)),
        _ => {}
    }
}

fn level(name: &str, parent: Option<&str>, depth: i64, object: &Map<String, Value>) -> Level {
    let mut attributes: BTreeMap<String, String> = object
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), lenient::text(value)?)))
        .collect();
    Level {
        name: name.into(),
        parent: parent.map(Into::into),
        depth,
        id: take(&mut attributes, name, "id"),
        title: take(&mut attributes, name, "name"),
        attributes,
    }
}

/// Takes `<level>_id`, else the first `…_id`, else `id`.
fn take(attributes: &mut BTreeMap<String, String>, level: &str, what: &str) -> Option<String> {
    let own = format!("{level}_{what}");
    let ending = format!("_{what}");
    let key = [own.as_str()]
        .into_iter()
        .find(|key| attributes.contains_key(*key))
        .or_else(|| {
            attributes
                .keys()
                .map(String::as_str)
                .find(|key| key.ends_with(&ending))
        })
        .or_else(|| attributes.contains_key(what).then_some(what))?
        .to_owned();
    attributes.remove(&key)
}

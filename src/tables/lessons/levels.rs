//! The levels of lesson data: each object nested in it, at any depth. Pure.

use std::borrow::Cow;

use crate::tables::report::node::{JsonObject, Node};

/// A level above a user in a meeting: a group, a course, or a level of the school's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level<'n> {
    /// Its key.
    pub name: &'n str,
    /// The key of the level that encloses it.
    pub parent: Option<&'n str>,
    /// Its depth, from 1.
    pub depth: i64,
    /// The id of its entity.
    pub id: Option<Cow<'n, str>>,
    /// The name of its entity.
    pub title: Option<Cow<'n, str>>,
    /// Its other scalar values, by key.
    pub attributes: Vec<(Cow<'n, str>, Cow<'n, str>)>,
}

/// The levels of lesson data, outer ones first. Objects in an array are levels under the array's key.
pub(super) fn levels<'n>(meta: &'n JsonObject<'_>) -> Vec<Level<'n>> {
    let mut levels = Vec::new();
    walk(meta, None, 1, &mut levels);
    levels
}

fn walk<'n>(object: &'n JsonObject<'_>, parent: Option<&'n str>, depth: i64, levels: &mut Vec<Level<'n>>) {
    for (name, value) in object.iter() {
        enter(name, value, parent, depth, levels);
    }
}

/// The parser limits how deep a value nests, so this ends.
fn enter<'n>(
    name: &'n str,
    value: &'n Node<'_>,
    parent: Option<&'n str>,
    depth: i64,
    levels: &mut Vec<Level<'n>>,
) {
    match value {
        Node::Object(inner) => {
            levels.push(level(name, parent, depth, inner));
            walk(inner, Some(name), depth + 1, levels);
        }
        Node::List(elements) => elements
            .iter()
            .for_each(|element| enter(name, element, parent, depth, levels)),
        _ => {}
    }
}

/// The fields come sorted, because lesson data is stored so.
fn level<'n>(name: &'n str, parent: Option<&'n str>, depth: i64, object: &'n JsonObject<'_>) -> Level<'n> {
    let fields = object.iter();
    let mut attributes: Vec<(Cow<'n, str>, Cow<'n, str>)> = fields
        .filter_map(|(key, value)| Some((Cow::Borrowed(&**key), value.to_text()?)))
        .collect();
    Level {
        name,
        parent,
        depth,
        id: take(&mut attributes, name, "id"),
        title: take(&mut attributes, name, "name"),
        attributes,
    }
}

/// Takes `<level>_id`, else the first `…_id`, else `id`.
fn take<'n>(
    attributes: &mut Vec<(Cow<'n, str>, Cow<'n, str>)>,
    level: &str,
    what: &str,
) -> Option<Cow<'n, str>> {
    let by = |is_it: &dyn Fn(&str) -> bool| attributes.iter().position(|(key, _)| is_it(key));
    let own = |key: &str| before(key, what) == Some(level);
    let at = by(&own)
        .or_else(|| by(&|key| before(key, what).is_some()))
        .or_else(|| by(&|key| key == what))?;
    Some(attributes.remove(at).1)
}

/// The part of a key before `_id` or `_name`.
fn before<'k>(key: &'k str, what: &str) -> Option<&'k str> {
    key.strip_suffix(what)?.strip_suffix('_')
}

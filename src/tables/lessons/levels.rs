//! The levels of lesson data: each object nested in it, at any depth. Pure.

use std::borrow::Cow;

use crate::tables::privacy::words;
use crate::tables::report::node::{JsonObject, Node};

/// A level above a user in a meeting: a group, a course, or a level of the school's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level<'n> {
    /// Its key.
    pub name: &'n str,
    /// The keys from the outermost level to this one, joined by dots.
    pub path: String,
    /// The key of the level that encloses it.
    pub parent: Option<&'n str>,
    /// The id of the entity of the level that encloses it.
    pub parent_id: Option<Cow<'n, str>>,
    /// Its depth, from 1.
    pub depth: i64,
    /// The id of its entity.
    pub id: Option<Cow<'n, str>>,
    /// The name of its entity.
    pub title: Option<Cow<'n, str>>,
    /// Its other scalar values, by key.
    pub attributes: Vec<(Cow<'n, str>, Cow<'n, str>)>,
    /// The keys of its id and its name.
    pub entity_keys: [Option<Cow<'n, str>>; 2],
    /// The key of the id of the level that encloses it.
    pub parent_id_key: Option<Cow<'n, str>>,
}

/// The levels of lesson data, outer ones first. Objects in an array are levels under the array's key.
/// With `hides_people`, a key that is data of a person, such as a name or an address, becomes `*`.
pub(super) fn levels<'n>(meta: &'n JsonObject<'_>, hides_people: bool) -> Vec<Level<'n>> {
    let mut levels = Vec::new();
    walk(meta, None, hides_people, &mut levels);
    levels
}

/// Adds the levels of an object; `parent` is the position of the level that the object is.
fn walk<'n>(
    object: &'n JsonObject<'_>,
    parent: Option<usize>,
    hides_people: bool,
    levels: &mut Vec<Level<'n>>,
) {
    for (name, value) in object.iter() {
        enter(name, value, parent, hides_people, levels);
    }
}

/// The parser limits how deep a value nests, so this ends.
fn enter<'n>(
    name: &'n str,
    value: &'n Node<'_>,
    parent: Option<usize>,
    hides_people: bool,
    levels: &mut Vec<Level<'n>>,
) {
    match value {
        Node::Object(inner) => {
            let mut level = level(name, parent.map(|at| &levels[at]), inner);
            if hides_people && is_key_of_person(name, parent.map(|at| &levels[at])) {
                level.path.truncate(level.path.len() - name.len());
                level.path.push_str(HIDDEN);
                level.name = HIDDEN;
            }
            levels.push(level);
            walk(inner, Some(levels.len() - 1), hides_people, levels);
        }
        Node::List(elements) => elements
            .iter()
            .for_each(|element| enter(name, element, parent, hides_people, levels)),
        _ => {}
    }
}

/// The level's key in the place of one that is data of a person.
const HIDDEN: &str = "*";

/// True if the key of a level is data of a person: an address, or a key below a level of people that is no field's name.
fn is_key_of_person(name: &str, parent: Option<&Level<'_>>) -> bool {
    let is_below_people = parent.is_some_and(|parent| words::is_of_people(&parent.path));
    words::looks_like_contact(name) || (is_below_people && !words::is_field(name))
}

/// The fields come sorted, because lesson data is stored so.
fn level<'n>(name: &'n str, parent: Option<&Level<'n>>, object: &'n JsonObject<'_>) -> Level<'n> {
    let fields = object.iter();
    let mut attributes: Vec<(Cow<'n, str>, Cow<'n, str>)> = fields
        .filter_map(|(key, value)| Some((Cow::Borrowed(&**key), value.to_text()?)))
        .collect();
    let [id, title] = [("_id", "id", "Id"), ("_name", "name", "Name")]
        .map(|(snake, plain, camel)| take(&mut attributes, name, snake, plain, camel));
    let ((id_key, id), (title_key, title)) = (id.unzip(), title.unzip());
    Level {
        name,
        path: parent.map_or(name.to_owned(), |parent| format!("{}.{name}", parent.path)),
        parent: parent.map(|parent| parent.name),
        parent_id: parent.and_then(|parent| parent.id.clone()),
        depth: parent.map_or(1, |parent| parent.depth + 1),
        id,
        title,
        attributes,
        entity_keys: [id_key, title_key],
        parent_id_key: parent.and_then(|parent| parent.entity_keys[0].clone()),
    }
}

/// Takes the key and the value of `<level>_id`, else the first `…_id`, else `id`, else `<level>Id`, else the first `…Id`.
fn take<'n>(
    attributes: &mut Vec<(Cow<'n, str>, Cow<'n, str>)>,
    level: &str,
    snake: &str,
    plain: &str,
    camel: &str,
) -> Option<(Cow<'n, str>, Cow<'n, str>)> {
    let by = |is_it: &dyn Fn(&str) -> bool| attributes.iter().position(|(key, _)| is_it(key));
    let own = |suffix: &str| by(&|key| key.strip_suffix(suffix) == Some(level));
    let any = |suffix: &str| by(&|key| key.ends_with(suffix));
    let at = own(snake)
        .or_else(|| any(snake))
        .or_else(|| by(&|key| key == plain))
        .or_else(|| own(camel))
        .or_else(|| any(camel))?;
    Some(attributes.remove(at))
}

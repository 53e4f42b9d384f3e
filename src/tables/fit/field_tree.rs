//! All fields of a JSON report with the shapes of their values, merged over the elements of lists and the values of
//! objects that are keyed by id. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::value_shape::{Sort, sort, value_shape};
use super::words;
use crate::tables::report::node::{JsonObject, Node};

/// Most shapes that are kept of a field.
const MOST_SHAPES: usize = 4;
/// Most values of a field that are compared with each other.
const MOST_DISTINCT: usize = 5000;

/// The fewest values that are alike in an object that is a map from ids or names.
const ALIKE: usize = 3;

/// A field, or the elements of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldTree {
    /// The number of values that are not null.
    pub seen: u64,
    /// The number of objects among them.
    pub objects: u64,
    /// The number of lists among them.
    pub lists: u64,
    /// The shapes of the scalars.
    pub shapes: BTreeMap<String, u64>,
    /// The sorts of the scalars.
    pub sorts: BTreeMap<Sort, u64>,
    /// Hashes of the scalars, by which fields that hold the same ids are found.
    pub distinct: HashSet<u64>,
    /// The values that are words of joining and leaving.
    pub stay_words: BTreeSet<String>,
    /// True if a part of a date that is written with slashes is above 12: the first, the second.
    pub above_twelve: (bool, bool),
    /// The fields of the objects.
    pub fields: BTreeMap<String, FieldTree>,
    /// The elements of the lists.
    pub each: Option<Box<FieldTree>>,
    /// The values of objects that are keyed by id or name.
    pub values: Option<Box<FieldTree>>,
    /// The keys, if these are such values.
    pub keys: Option<Box<FieldTree>>,
}

impl FieldTree {
    /// The tree of values that stand in the same place.
    pub fn of(nodes: &[&Node<'_>]) -> Self {
        Self::with_maps_of(nodes, ALIKE)
    }

    /// The tree of values, where objects with `alike` or more values that are alike are maps from ids or names.
    pub fn with_maps_of(nodes: &[&Node<'_>], alike: usize) -> Self {
        let mut tree = Self::default();
        let (mut elements, mut objects, mut lists) = (Vec::new(), Vec::new(), 0);
        for node in nodes {
            match node {
                Node::Null => continue,
                Node::List(list) => {
                    lists += 1;
                    elements.extend(list);
                }
                Node::Object(object) => objects.push(object),
                scalar => tree.add(scalar),
            }
            tree.seen += 1;
        }
        (tree.lists, tree.objects) = (lists, objects.len() as u64);
        if lists > 0 {
            tree.each = Some(Box::new(Self::with_maps_of(&elements, alike)));
        }
        if is_keyed(&objects, alike) {
            let values: Vec<_> = objects
                .iter()
                .flat_map(|object| object.iter())
                .map(|(_, value)| value)
                .collect();
            let keys = objects
                .iter()
                .flat_map(|object| object.iter())
                .map(|(key, _)| Node::Text(key.as_ref().into()));
            let keys: Vec<_> = keys.collect();
            let mut inner = Self::with_maps_of(&values, alike);
            inner.keys = Some(Box::new(Self::with_maps_of(
                &keys.iter().collect::<Vec<_>>(),
                alike,
            )));
            tree.values = Some(Box::new(inner));
        } else {
            let mut by_name: BTreeMap<&str, Vec<&Node<'_>>> = BTreeMap::new();
            for (name, value) in objects.iter().flat_map(|object| object.iter()) {
                by_name.entry(name).or_default().push(value);
            }
            tree.fields = by_name
                .into_iter()
                .map(|(name, values)| (name.to_owned(), Self::with_maps_of(&values, alike)))
                .collect();
        }
        tree
    }

    fn add(&mut self, scalar: &Node<'_>) {
        if let Some(shape) = value_shape(scalar) {
            let is_room = self.shapes.len() < MOST_SHAPES;
            match self.shapes.get_mut(&shape) {
                Some(times) => *times += 1,
                None if is_room => drop(self.shapes.insert(shape, 1)),
                None => {}
            }
        }
        if let Some(sort) = sort(scalar) {
            *self.sorts.entry(sort).or_default() += 1;
        }
        let Some(text) = scalar.to_text() else {
            return;
        };
        if self.distinct.len() < MOST_DISTINCT {
            self.distinct.insert(hash(&text));
        }
        if words::is_join(&text) || words::is_leave(&text) {
            self.stay_words.insert(text.to_string());
        }
        let mut parts = text.split('/').map(|part| part.parse::<u32>().unwrap_or(0));
        self.above_twelve.0 |= parts.next().is_some_and(|first| (13..32).contains(&first));
        self.above_twelve.1 |= parts.next().is_some_and(|second| (13..32).contains(&second));
    }

    /// The sort that most values have.
    pub fn sort(&self) -> Option<Sort> {
        let total: u64 = self.sorts.values().sum();
        let most = self.sorts.iter().max_by_key(|(_, times)| **times)?;
        (most.1 * 2 > total).then_some(*most.0)
    }

    /// True if it holds scalars.
    pub fn is_leaf(&self) -> bool {
        self.seen > self.objects + self.lists
    }

    /// The most frequent shape.
    pub fn shape(&self) -> Option<&str> {
        self.shapes
            .iter()
            .max_by_key(|(_, times)| **times)
            .map(|(shape, _)| shape.as_str())
    }

    /// The tree at steps of [`TreeStep`].
    pub fn at(&self, steps: &[TreeStep]) -> Option<&Self> {
        steps.iter().try_fold(self, |tree, step| match step {
            TreeStep::Field(name) => tree.fields.get(name),
            TreeStep::Each => tree.each.as_deref(),
            TreeStep::Values => tree.values.as_deref(),
        })
    }

    /// Calls `visit` with each part of the tree and the steps to it, outermost first. A `false` skips what is within.
    pub fn walk<'t>(
        &'t self,
        steps: &mut Vec<TreeStep>,
        visit: &mut dyn FnMut(&[TreeStep], &'t Self) -> bool,
    ) {
        if !visit(steps, self) {
            return;
        }
        let fields = self
            .fields
            .iter()
            .map(|(name, tree)| (TreeStep::Field(name.clone()), tree));
        let each = self.each.iter().map(|tree| (TreeStep::Each, &**tree));
        let values = self.values.iter().map(|tree| (TreeStep::Values, &**tree));
        for (step, tree) in fields.chain(each).chain(values) {
            steps.push(step);
            tree.walk(steps, visit);
            steps.pop();
        }
    }
}

/// A step into a [`FieldTree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TreeStep {
    /// The field of an object.
    Field(String),
    /// The elements of a list.
    Each,
    /// The values of an object that is keyed by id.
    Values,
}

impl TreeStep {
    /// True for a step that leads to several values.
    pub fn is_many(&self) -> bool {
        !matches!(self, Self::Field(_))
    }
}

/// A path as a mapping writes it.
pub(crate) fn path_text(steps: &[TreeStep]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            TreeStep::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&name.replace('\\', "\\\\").replace('.', "\\."));
            }
            TreeStep::Each => text.push_str("[]"),
            TreeStep::Values => text.push_str("{}"),
        }
    }
    if text.is_empty() { "@".to_owned() } else { text }
}

/// The hash of a value's text.
pub(crate) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// True if objects in the same place are maps from an id or a name: their keys look like data, or their values are
/// objects that are all alike.
fn is_keyed(objects: &[&JsonObject<'_>], alike: usize) -> bool {
    let entries: Vec<_> = objects.iter().flat_map(|object| object.iter()).collect();
    let keys: BTreeSet<&str> = entries.iter().map(|(key, _)| key.as_ref()).collect();
    if keys.is_empty() {
        return false;
    }
    let odd = keys.iter().filter(|key| words::may_be_data(key)).count();
    let (mut objects, mut scalars) = (Vec::new(), 0);
    for (_, value) in &entries {
        match value {
            Node::Object(object) => objects.push(object),
            Node::Null | Node::List(_) => {}
            _ => scalars += 1,
        }
    }
    let is_one_kind = scalars == 0 || scalars == entries.len();
    if odd * 2 > keys.len() && is_one_kind {
        return true;
    }
    // Names of people begin with a capital letter, which few names of fields do.
    let are_capitalized = keys.iter().all(|key| key.starts_with(char::is_uppercase));
    let fewest = if are_capitalized { alike.min(2) } else { alike };
    if objects.len() != entries.len() || keys.len() < fewest {
        return false;
    }
    // The number of objects that have a field, and the last of them.
    let mut fields: HashMap<&str, (usize, usize)> = HashMap::new();
    for (number, object) in (1..).zip(&objects) {
        for (name, _) in object.iter() {
            let (times, last) = fields.entry(name).or_default();
            *times += usize::from(*last != number);
            *last = number;
        }
    }
    let common = fields
        .values()
        .filter(|(times, _)| *times == objects.len())
        .count();
    common > 0 && common * 2 >= fields.len()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tree(value: &Value) -> FieldTree {
        FieldTree::of(&[&Node::from(value)])
    }

    #[test]
    fn objects_keyed_by_id_are_told_from_objects_with_fields() {
        let person = |name: &str| json!({"fullName": name, "mail": "a@b.ru"});
        let by_id = json!({"u1234567": person("A"), "u7654321": person("B")});
        let by_name = json!({"olga": person("A"), "ivan": person("B"), "petr": person("C")});
        let one = json!({"64ab00000000000000000001": person("A")});
        for keyed in [&by_id, &by_name, &one, &json!({"a@b.ru": 1, "c@d.ru": 2})] {
            assert!(tree(keyed).values.is_some(), "{keyed}");
        }
        let plain = json!({"host": person("A"), "guest": person("B"), "title": "x"});
        for fields in [
            &plain,
            &person("A"),
            &json!({}),
            &json!({"host": person("A"), "guest": person("B")}),
        ] {
            assert!(tree(fields).values.is_none(), "{fields}");
        }
    }

    #[test]
    fn thousands_of_objects_without_a_common_field_are_compared_in_one_pass() {
        // A copy of all fields for each object would be 40 million copies of a name.
        let values = (0..9_000).map(|n| (format!("k{n}"), json!({ format!("f{n}"): 1 })));
        let odd: Value = values.collect::<serde_json::Map<_, _>>().into();
        let many = json!({ "k": odd });
        assert_eq!(tree(&many).fields["k"].fields.len(), 9_000);
        let person = |at: u32| json!({"name": "A", "at": at, "one": 1});
        let alike = json!({"olga": person(1), "ivan": person(2), "petr": {"name": "C", "at": 3}});
        assert!(tree(&alike).values.is_some());
        let unlike = json!({"a": {"x": 1, "p": 1}, "b": {"x": 1, "q": 1}, "c": {"x": 1, "r": 1}});
        assert!(tree(&unlike).values.is_none());
    }

    #[test]
    fn fields_are_merged_over_lists_and_have_shapes() {
        let report = json!({"people": [{"at": "10:00"}, {"at": "9:00", "ids": [1, 22]}, {"at": null}]});
        let tree = tree(&report);
        let mut seen = Vec::new();
        tree.walk(&mut Vec::new(), &mut |steps, tree| {
            if tree.is_leaf() {
                seen.push((
                    path_text(steps),
                    tree.seen,
                    tree.shapes.keys().cloned().collect::<Vec<_>>(),
                ));
            }
            true
        });
        let of = |path: &str, times, shapes: [&str; 2]| {
            (path.to_owned(), times, shapes.map(str::to_owned).to_vec())
        };
        assert_eq!(
            seen,
            [
                of("people[].at", 2, ["\"99:99\"", "\"9:99\""]),
                of("people[].ids[]", 2, ["9", "99"])
            ]
        );
    }
}

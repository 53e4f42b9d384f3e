//! A report's JSON as a tree that borrows from its bytes. Pure; parsed once per report, read by every table.
//!
//! Unlike `serde_json::Value` it copies no text without escapes, and it hashes or sorts no small object. Those are most
//! of the cost of reading a report.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::{Number, Value};

use crate::lenient::{self, Scalar};

/// Objects with more fields are sorted, so that a hostile object does not cost a linear search for each row.
const SMALL: usize = 32;

/// The fields for which an object has room at once: most objects of a report have no more.
const FIELDS: usize = 4;

/// The bytes for which an object's JSON has room at once.
const USUAL_BYTES: usize = 512;

/// A JSON value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Node<'v> {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(Cow<'v, str>),
    /// An array.
    List(Vec<Node<'v>>),
    /// An object.
    Object(JsonObject<'v>),
}

/// A JSON object. If a field appears twice, the last one counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JsonObject<'v>(Vec<(Cow<'v, str>, Node<'v>)>);

impl<'v> JsonObject<'v> {
    fn new(mut fields: Vec<(Cow<'v, str>, Node<'v>)>) -> Self {
        // A report has hundreds of thousands of objects, and much spare capacity in each would be most of its memory.
        if fields.capacity() > fields.len() + fields.len() / 2 + FIELDS / 2 {
            fields.shrink_to_fit();
        }
        if fields.len() > SMALL {
            // The sort is stable, so that the last of equal names comes first after the reversal.
            fields.reverse();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields.dedup_by(|later, kept| later.0 == kept.0);
        }
        Self(fields)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Node<'v>> {
        self.0.get(self.position(name)?).map(|(_, value)| value)
    }

    /// The index of a field in [`JsonObject::fields`].
    pub fn position(&self, name: &str) -> Option<usize> {
        match self.0.len() > SMALL {
            true => self
                .0
                .binary_search_by(|(known, _)| known.as_ref().cmp(name))
                .ok(),
            false => self.0.iter().rposition(|(known, _)| known == name),
        }
    }

    /// True if the object has fields of these names, in this order, and no others.
    pub fn has_names(&self, names: &[Box<str>]) -> bool {
        self.0.len() == names.len()
            && self
                .0
                .iter()
                .zip(names)
                .all(|((name, _), known)| **name == **known)
    }

    /// The fields that count, by name.
    fn sorted(&self) -> Vec<(&str, &Node<'v>)> {
        // The sort is stable, so that the last of equal names comes first.
        let mut fields: Vec<_> = self
            .0
            .iter()
            .rev()
            .map(|(name, value)| (&**name, value))
            .collect();
        fields.sort_by(|a, b| a.0.cmp(b.0));
        fields.dedup_by(|later, kept| later.0 == kept.0);
        fields
    }

    /// Removes a field, and gives its value.
    pub fn remove(&mut self, name: &str) -> Option<Node<'v>> {
        let mut removed = None;
        self.0.retain_mut(|(known, value)| {
            let stays = known != name;
            if !stays {
                removed = Some(std::mem::take(value));
            }
            stays
        });
        removed
    }

    /// Adds the fields of another object, in place of those that have the same names.
    pub fn overlaid(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        Self::new(self.0)
    }

    /// The object as JSON, with sorted keys.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, self)?;
        String::from_utf8(json).map_err(serde::ser::Error::custom)
    }

    /// True if it has no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that count.
    pub fn entries(&self) -> impl Iterator<Item = (&Cow<'v, str>, &Node<'v>)> {
        let fields = self.0.iter().enumerate();
        // A large object has no field twice.
        let counts = |at: usize, name: &Cow<'v, str>| {
            self.0.len() > SMALL || !self.0[at + 1..].iter().any(|(later, _)| later == name)
        };
        fields.filter_map(move |(at, (name, value))| counts(at, name).then_some((name, value)))
    }

    /// The fields. A field that appears twice in a small object comes twice, the one that counts later.
    pub fn fields(&self) -> &[(Cow<'v, str>, Node<'v>)] {
        &self.0
    }

    /// The same, one after another.
    pub fn iter(&self) -> impl Iterator<Item = &(Cow<'v, str>, Node<'v>)> {
        self.0.iter()
    }
}

impl<'v> FromIterator<(Cow<'v, str>, Node<'v>)> for JsonObject<'v> {
    fn from_iter<I: IntoIterator<Item = (Cow<'v, str>, Node<'v>)>>(fields: I) -> Self {
        Self::new(fields.into_iter().collect())
    }
}

impl<'v> Node<'v> {
    /// The field of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(name),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// True if it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// True if it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The text, number or truth value as text; none if it is empty or anything else. See [`lenient::text`].
    pub fn to_text(&self) -> Option<Cow<'v, str>> {
        match self {
            Self::Text(text) => (!text.is_empty()).then(|| text.clone()),
            _ => lenient::text(self).map(Cow::Owned),
        }
    }

    /// True if it is nested no deeper than `depth`. A scalar has depth 0; `{}` and `[]` have depth 1.
    pub fn is_within(&self, depth: usize) -> bool {
        match self {
            Self::List(elements) => depth > 0 && elements.iter().all(|element| element.is_within(depth - 1)),
            Self::Object(object) => {
                // A field that appears again does not count.
                let counts = |name, value| object.get(name).is_some_and(|last| std::ptr::eq(last, value));
                let mut fields = object.0.iter();
                depth > 0 && fields.all(|(name, value)| value.is_within(depth - 1) || !counts(name, value))
            }
            _ => true,
        }
    }

    /// The same as a `serde_json` value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.as_ref().to_owned()),
            Self::List(elements) => elements.iter().map(Self::to_value).collect(),
            Self::Object(object) => object
                .iter()
                .map(|(name, value)| (name.as_ref().to_owned(), value.to_value()))
                .collect(),
        }
    }
}

impl<'v> From<&'v Value> for Node<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.into()),
            Value::Array(elements) => Self::List(elements.iter().map(Into::into).collect()),
            Value::Object(object) => {
                let fields = object.iter();
                Self::Object(fields.map(|(name, value)| (name.into(), value.into())).collect())
            }
        }
    }
}

impl<'n> From<&'n Node<'_>> for Scalar<'n> {
    fn from(node: &'n Node<'_>) -> Self {
        match node {
            Node::Bool(truth) => Self::Bool(*truth),
            Node::Number(number) => Self::Number(number),
            Node::Text(text) => Self::Text(text),
            Node::Null => Self::Null,
            Node::List(_) | Node::Object(_) => Self::Nested,
        }
    }
}

/// Writes what `serde_json` writes of the same value: the fields of an object by name.
impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(elements) => serializer.collect_seq(elements),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for JsonObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_sorted_by(|a, b| a.0 < b.0) {
            return serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)));
        }
        serializer.collect_map(self.sorted())
    }
}

impl<'de: 'v, 'v> Deserialize<'de> for Node<'v> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node<'de>, E> {
        Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(text.to_owned().into()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node<'de>, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let mut fields = Vec::with_capacity(FIELDS);
        while let Some(name) = map.next_key_seed(Name)? {
            fields.push((name, map.next_value()?));
        }
        Ok(Node::Object(JsonObject::new(fields)))
    }
}

/// A field's name, borrowed if possible; serde's own `Cow` always copies.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.to_owned().into())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Node<'_> {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn text_without_escapes_is_borrowed_and_the_last_of_equal_names_counts() {
        let node = parse(r#"{"a": "x", "b\n": "y\n", "a": 2}"#);
        assert_eq!(node.get("a"), Some(&Node::Number(2.into())));
        assert!(matches!(node.get("b\n"), Some(Node::Text(Cow::Owned(text))) if text == "y\n"));
        assert!(matches!(parse("\"x\""), Node::Text(Cow::Borrowed("x"))));
        assert_eq!(node.to_value(), json!({"a": 2, "b\n": "y\n"}));
        let Node::Object(object) = &node else {
            panic!("an object");
        };
        let names: Vec<_> = object.entries().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["b\n", "a"]);
    }

    #[test]
    fn fields_are_removed_and_overlaid() {
        let object = |text| match parse(text) {
            Node::Object(object) => object,
            other => panic!("{other:?} is no object"),
        };
        let mut below = object(r#"{"a": 1, "b": 2, "a": 3}"#);
        assert_eq!(below.remove("a"), Some(Node::Number(3.into())));
        assert_eq!(below.remove("a"), None);
        let both = Node::Object(below.overlaid(object(r#"{"c": 4, "b": 5}"#)));
        assert_eq!(both.to_value(), json!({"b": 5, "c": 4}));
    }

    #[test]
    fn nesting_is_counted_in_the_fields_that_count() {
        assert!(parse("1").is_within(0) && !parse("[]").is_within(0));
        assert!(parse(r#"{"a": [1], "b": 2}"#).is_within(2));
        assert!(!parse(r#"{"a": [[1]], "b": 2}"#).is_within(2));
        assert!(parse(r#"{"a": [[1]], "a": 2}"#).is_within(2));
    }

    #[test]
    fn an_object_is_written_as_json_writes_it() {
        let text = r#"{"b": [1.0, 1e20, "\u00e9\n", null, true], "a": {"d": {}, "c": []}, "b\"": -7}"#;
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(
            serde_json::to_string(&parse(text)).expect("text"),
            value.to_string()
        );
    }

    proptest! {
        /// The reference is serde_json's own tree. There are few names, so that some appear twice.
        #[test]
        fn an_object_of_any_size_is_what_json_says(fields in proptest::collection::vec(("[a-f]{1,2}", 0..9_u8), 0..80)) {
            let body: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            let text = format!("{{{}}}", body.join(", "));
            let (node, value) = (parse(&text), serde_json::from_str::<Value>(&text).expect("JSON"));
            prop_assert_eq!(node.to_value(), value.clone());
            for (name, value) in value.as_object().expect("object") {
                prop_assert_eq!(node.get(name).map(Node::to_value), Some(value.clone()));
            }
            prop_assert_eq!(node.get("none"), None);
            prop_assert_eq!(serde_json::to_string(&node).expect("text"), value.to_string());
            prop_assert_eq!(Node::from(&value).to_value(), value);
        }
    }
}

//! A report's JSON as a tree that borrows from its bytes. Pure; parsed once per report, read by every table.
//!
//! Unlike `serde_json::Value` it copies no text without escapes, and it hashes or sorts no small object. Those are most
//! of the cost of reading a report.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::lenient::Scalar;

/// Objects with more fields are sorted, so that a hostile object does not cost a linear search for each row.
const SMALL: usize = 32;

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
        // A report has hundreds of thousands of objects, and spare capacity in each would be most of its memory.
        fields.shrink_to_fit();
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
        if self.0.len() > SMALL {
            let at = self
                .0
                .binary_search_by(|(known, _)| known.as_ref().cmp(name))
                .ok()?;
            return self.0.get(at).map(|(_, value)| value);
        }
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// True if it has no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields. A field that appears twice in a small object comes twice, the one that counts later.
    pub fn iter(&self) -> impl Iterator<Item = &(Cow<'v, str>, Node<'v>)> {
        self.0.iter()
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
            Value::Object(object) => Self::Object(JsonObject::new(
                object
                    .iter()
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
            )),
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

impl<'de> Deserialize<'de> for Node<'de> {
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
        let mut fields = Vec::with_capacity(8);
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
            prop_assert_eq!(Node::from(&value).to_value(), value);
        }
    }
}

//! Masks the values of JSON, and the keys that may be data. Pure.

use serde_json::{Map, Value};

use super::Masker;
use crate::json::Text;
use crate::tables::fit::field_tree::FieldTree;
use crate::tables::fit::words;
use crate::tables::report::inspect::{self, NotJson};
use crate::tables::report::node::Node;

/// The fewest values of an object whose likeness makes it a map from ids or names. Masking a field's name too many does less
/// harm than showing a name.
const ALIKE: usize = 2;

impl Masker {
    /// Remembers all values of an answer.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn learn_json(&mut self, json: &[u8]) -> Result<(), NotJson> {
        let text = Text::new(json);
        let (node, _) = inspect::parse(&text)?;
        self.keys.learn(&node);
        self.learn_node(&node);
        Ok(())
    }

    fn learn_node(&mut self, node: &Node<'_>) {
        match node {
            Node::List(elements) => elements.iter().for_each(|element| self.learn_node(element)),
            Node::Object(object) => {
                for (name, value) in object.iter() {
                    // A key that is an id or an address is a value elsewhere.
                    if words::may_be_data(name) {
                        self.learn(name);
                    }
                    self.learn_node(value);
                }
            }
            scalar => {
                if let Some(text) = scalar.to_text() {
                    self.learn(&text);
                }
            }
        }
    }

    /// The masked form of an answer.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn json(&mut self, json: &[u8]) -> Result<Value, NotJson> {
        let text = Text::new(json);
        let (node, _) = inspect::parse(&text)?;
        let tree = FieldTree::with_maps_of(&[&node], ALIKE);
        Ok(self.node(&node, Some(&tree), false))
    }

    /// The masked form of a value. `is_time` says that its field is surely one of times.
    fn node(&mut self, node: &Node<'_>, tree: Option<&FieldTree>, is_time: bool) -> Value {
        match node {
            Node::Null => Value::Null,
            Node::Bool(truth) => Value::Bool(*truth),
            Node::Number(number) => Value::Number(self.number(number, is_time)),
            Node::Text(text) => Value::String(self.text_of_field(text, is_time)),
            Node::List(elements) => {
                let each = tree.and_then(|tree| tree.each.as_deref());
                let masked = elements.iter().map(|element| self.node(element, each, is_time));
                masked.collect()
            }
            Node::Object(object) => {
                let values = tree.and_then(|tree| tree.values.as_deref());
                let mut masked = Map::new();
                for (name, value) in object.iter() {
                    let is_data = values.is_some() || self.keys.is_data(name);
                    let key = match is_data {
                        true => self.text(name),
                        false => name.to_string(),
                    };
                    let inner = values.or_else(|| tree?.fields.get(name.as_ref()));
                    let is_time = match values.is_some() {
                        true => is_time,
                        false => self.is_time(name),
                    };
                    masked.insert(key, self.node(value, inner, is_time));
                }
                Value::Object(masked)
            }
        }
    }
}

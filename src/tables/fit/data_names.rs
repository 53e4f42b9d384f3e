//! Tells names of fields from keys that are data, such as ids, addresses and names of people. Pure; `check` does not print such
//! keys, and a recording masks them.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::field_tree::{TreeStep, path_text};
use super::value_shape::{Sort, sort};
use super::words;
use crate::lenient::Scalar;
use crate::tables::mapping::Mapping;
use crate::tables::report::node::{JsonObject, Node};
use crate::tables::report::path::Step;

/// Fields of the API's lists, which a recording needs.
const OF_THE_API: [&str; 6] = ["items", "total", "roomId", "callId", "lastCallAt", "@key"];
/// Most bytes of a value that a key may be.
const LONGEST: usize = 200;
/// Most digits in the name of a field.
const MOST_DIGITS: usize = 2;

/// Fewest hex digits that are an id and no word.
const LEAST_HEX: usize = 12;

/// Names of fields that the mapping has, and values by which keys are known to be data.
#[derive(Debug, Default)]
pub(crate) struct DataNames {
    /// Names of fields that the mapping has.
    fields: HashSet<String>,
    /// The texts of the answers, and the words of those that are names of people, in small letters.
    values: HashSet<String>,
    /// Keys of objects whose values are alike.
    siblings: HashSet<String>,
}

impl DataNames {
    /// Names of the fields of a mapping, without values.
    pub fn of_mapping(mapping: &Mapping) -> Self {
        let paths = mapping.tables.iter().flat_map(|plan| {
            let columns = plan.columns.iter().flat_map(|column| column.taken());
            let tested = plan.filter.paths().cloned();
            plan.rows.iter().cloned().chain(columns).chain(tested)
        });
        let steps = paths.flat_map(|path| path.steps);
        let fields = steps.filter_map(|step| match step {
            Step::Field(name) => Some(name),
            _ => None,
        });
        Self {
            fields: fields.collect(),
            ..Self::default()
        }
    }

    /// Names of the fields of a mapping, and the values of a report.
    pub fn of(node: &Node<'_>, mapping: &Mapping) -> Self {
        let mut names = Self::of_mapping(mapping);
        names.learn(node);
        names
    }

    /// Remembers the values of a report.
    pub fn learn(&mut self, node: &Node<'_>) {
        match node {
            Node::List(elements) => elements.iter().for_each(|element| self.learn(element)),
            Node::Object(object) => {
                self.learn_siblings(object);
                object.iter().for_each(|(_, value)| self.learn(value));
            }
            Node::Text(text) => self.learn_text(text),
            Node::Null | Node::Bool(_) | Node::Number(_) => {}
        }
    }

    /// Remembers a value.
    pub fn learn_text(&mut self, text: &str) {
        let text = text.trim();
        if text.len() > LONGEST {
            return;
        }
        if sort(Scalar::Text(text)) == Some(Sort::Name) {
            self.values.extend(text.split_whitespace().map(str::to_lowercase));
        }
        self.values.insert(text.to_lowercase());
    }

    /// Remembers the keys under which objects, or lists of objects, have the same fields.
    fn learn_siblings(&mut self, object: &JsonObject<'_>) {
        let mut alike: HashMap<(bool, BTreeSet<&str>), Vec<&str>> = HashMap::new();
        for (name, value) in object.iter() {
            let (is_list, inner) = match value {
                Node::List(elements) => (true, elements.first().unwrap_or(&Node::Null)),
                value => (false, value),
            };
            if let Node::Object(inner) = inner {
                let fields = inner.iter().map(|(field, _)| field.as_ref()).collect();
                alike.entry((is_list, fields)).or_default().push(name);
            }
        }
        let groups = alike.into_values().filter(|names| names.len() > 1);
        self.siblings.extend(groups.flatten().map(str::to_owned));
    }

    /// True if a key may be data. In doubt it is.
    pub fn is_data(&self, name: &str) -> bool {
        if self.fields.contains(name) || OF_THE_API.contains(&name) || words::is_known(name) {
            return false;
        }
        words::may_be_data(name)
            || !is_field(name)
            || self.values.contains(&name.trim().to_lowercase())
            || self.siblings.contains(name)
    }

    /// True if a path has a field whose name may be data.
    pub fn hides(&self, steps: &[TreeStep]) -> bool {
        steps
            .iter()
            .any(|step| matches!(step, TreeStep::Field(name) if self.is_data(name)))
    }

    /// A path for people: a field's name that may be data is `*`.
    pub fn shown(&self, steps: &[TreeStep]) -> String {
        let shown: Vec<_> = steps
            .iter()
            .map(|step| match step {
                TreeStep::Field(name) if self.is_data(name) => TreeStep::Field("*".to_owned()),
                step => step.clone(),
            })
            .collect();
        path_text(&shown)
    }

    /// A path as the notes of a run write it, for people.
    pub fn shown_path(&self, path: &str) -> String {
        let part = |part: &str| {
            let name = part.trim_end_matches(['[', ']', '{', '}']);
            match name.is_empty() || !self.is_data(name) {
                true => part.to_owned(),
                false => format!("*{}", &part[name.len()..]),
            }
        };
        path.split('.').map(part).collect::<Vec<_>>().join(".")
    }
}

/// True if a key has the form of a field's name: ASCII letters, without the signs of addresses, and no single capitalized word,
/// which the name of a person is.
fn is_field(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-$:".contains(c);
    let mut letters = name.chars();
    let is_word =
        letters.next().is_some_and(|c| c.is_ascii_uppercase()) && letters.all(|c| c.is_ascii_lowercase());
    name.starts_with(|c: char| c.is_ascii_alphabetic() || "_$".contains(c))
        && name.chars().all(is_part)
        && name.chars().filter(char::is_ascii_digit).count() <= MOST_DIGITS
        && !is_word
        && !(name.len() >= LEAST_HEX && name.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_are_people_or_addresses_are_data() {
        let report = json!({
            "participants": [{"login": "osmirnova", "fio": "Olga Smirnova"}, {"login": "PPetrov"}],
            "votes": {"vanya": {"n": 5}, "tanya": {"n": 7}, "title": "x"}, "stays": {"masha": [{"t": 1}], "dasha": [{"t": 2}]},
        });
        let mapping = Mapping::builtin().expect("mapping");
        let names = DataNames::of(&Node::from(&report), &mapping);
        for data in [
            "osmirnova",
            "OSmirnova",
            "ppetrov",
            "smirnova",
            "vanya",
            "tanya",
            "masha",
            "dasha",
            "Petya",
            "Таня",
            "ivan@example.org",
            "ivan.petrov",
            "of ivan",
            "abcdefabcdefabcdefab1234",
            "b64SGVsbG8",
            "12",
        ] {
            assert!(names.is_data(data), "{data}");
        }
        for field in [
            "participants",
            "login",
            "votes",
            "cameraSeconds",
            "AverageScore",
            "level1",
            "Name",
            "e-mail",
            "$ref",
        ] {
            assert!(!names.is_data(field), "{field}");
        }
        let rules = "version = 1\n[table.participants.columns]\nname = ['vanya', 'ivan\\.petrov']";
        let own = Mapping::over_builtin(rules, "m").expect("a mapping");
        let names = DataNames::of(&Node::from(&report), &own);
        assert!(!names.is_data("vanya") && !names.is_data("ivan.petrov") && names.is_data("tanya"));
        assert_eq!(names.shown_path("votes.tanya[].Petya{}"), "votes.*[].*{}");
    }

    #[test]
    fn a_path_escapes_dots_and_hides_names_that_may_be_data() {
        let steps = [
            TreeStep::Field("a.b".into()),
            TreeStep::Values,
            TreeStep::Field("ivan@example.org".into()),
            TreeStep::Each,
        ];
        assert_eq!(path_text(&steps), "a\\.b{}.ivan@example\\.org[]");
        let report = json!([{"fio": "Ольга Смирнова"}]);
        let names = DataNames::of(&Node::from(&report), &Mapping::builtin().expect("mapping"));
        assert_eq!(names.shown(&steps), "*{}.*[]");
        assert_eq!(names.shown(&[TreeStep::Field("ольга".into())]), "*");
    }
}

//! Source paths of the mapping: `participants[]`, `users{}`, `^.id`, `@`, `@key`. Pure; parsed once, walked for every
//! row.

use std::borrow::Cow;

use super::node::Node;

/// The path of the key under which a value stands in its object.
const KEY: &str = "@key";
/// Characters of other path languages, which are a part of a name only behind a backslash.
const FOREIGN: [char; 5] = ['*', '[', ']', '{', '}'];

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The field of an object.
    Field(String),
    /// The elements of an array.
    Each,
    /// The values of an object whose keys are data.
    Values,
}

impl Step {
    /// True if it leads to many values.
    pub fn is_many(&self) -> bool {
        !matches!(self, Self::Field(_))
    }
}

/// A parsed path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// Arrays and objects of values to step out of first.
    pub up: usize,
    /// The steps from there; the value itself if there are none.
    pub steps: Vec<Step>,
    /// True if it means the key under which that value stands, and not the value.
    pub is_key: bool,
}

/// A value that a row can see: the row itself, or one that encloses it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'n, 'v> {
    pub node: &'n Node<'v>,
    /// The key under which it stands, if its object's keys are data.
    pub key: Option<&'n Cow<'v, str>>,
}

impl<'n, 'v> From<&'n Node<'v>> for Scope<'n, 'v> {
    fn from(node: &'n Node<'v>) -> Self {
        Self { node, key: None }
    }
}

/// Counts of what a walk met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Values at the end of the path.
    pub values: u64,
    /// Places on the way that do not exist, or are null.
    pub missing: u64,
    /// Places on the way that hold something else than the path expects.
    pub misshapen: u64,
}

impl Path {
    /// Parses a path of the mapping; the error is only the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |reason: &str| Err(format!("`{text}`: {reason}"));
        let rest = text.trim_start_matches('^');
        let up = text.len() - rest.len();
        let rest = match rest.strip_prefix('.') {
            Some(rest) if up > 0 => rest,
            None if up > 0 && !rest.is_empty() && rest != KEY && !rest.starts_with(['[', '{']) => {
                return refuse("after `^` comes `.` and a field, or `@key`");
            }
            _ => rest,
        };
        let path = |steps, is_key| Self { up, steps, is_key };
        match rest {
            KEY => return Ok(path(Vec::new(), true)),
            "@" => return Ok(path(Vec::new(), false)),
            "" if up > 0 => return Ok(path(Vec::new(), false)),
            _ if rest.starts_with("@.") => {
                return refuse("the row's own fields have no `@.` before them");
            }
            _ => {}
        }
        let mut steps = Vec::new();
        for part in split(rest) {
            if part.text == "$" && !part.is_escaped {
                return refuse("a path begins at the object itself, without `$`");
            }
            if part.text == KEY && !part.is_escaped {
                return refuse("`@key` is of the row, or with `^` of what encloses it, and stands alone");
            }
            // `[]` and `{}` alone step into a report that is itself an array or an object of values.
            if part.text.is_empty() && (part.many.is_empty() || !steps.is_empty()) {
                return refuse("a field's name is missing");
            }
            if let Some(foreign) = part.foreign {
                return refuse(&format!(
                    "`{foreign}` can't match: `[]` steps into a list, `{{}}` into an object by key, both at the end of a name; \
                     a backslash before `{foreign}` makes it a part of the name"
                ));
            }
            if !part.text.is_empty() {
                steps.push(Step::Field(part.text));
            }
            steps.extend(part.many);
        }
        Ok(path(steps, false))
    }

    /// The number of arrays and objects of values that the path steps into.
    pub fn arrays(&self) -> usize {
        self.steps.iter().filter(|step| step.is_many()).count()
    }

    /// True if it means the row itself.
    pub fn is_here(&self) -> bool {
        self.up == 0 && self.steps.is_empty() && !self.is_key
    }

    /// True if it steps into the row itself, which is a list.
    pub fn is_list_here(&self) -> bool {
        self.up == 0 && self.steps.first().is_some_and(Step::is_many)
    }

    /// The path to what `other` finds from the end of this one.
    pub fn then(&self, other: &Self) -> Self {
        Self {
            up: self.up,
            steps: [self.steps.as_slice(), &other.steps].concat(),
            is_key: other.is_key,
        }
    }

    /// The value at a path without arrays. `scopes` are the enclosing values, the report first and the row last.
    pub fn value<'n, 'v>(&self, scopes: &[Scope<'n, 'v>]) -> Option<Cow<'n, Node<'v>>> {
        match self.is_key {
            true => Some(Cow::Owned(Node::Text(self.start(scopes)?.key?.clone()))),
            false => self.node(scopes).map(Cow::Borrowed),
        }
    }

    /// The value at a path without arrays that means no key.
    pub fn node<'n, 'v>(&self, scopes: &[Scope<'n, 'v>]) -> Option<&'n Node<'v>> {
        Self::below(self.start(scopes)?.node, &self.steps)
    }

    /// The value at the end of steps from another value; none if they step into many.
    pub fn below<'n, 'v>(from: &'n Node<'v>, steps: &[Step]) -> Option<&'n Node<'v>> {
        steps.iter().try_fold(from, |value, step| match step {
            Step::Field(name) => value.get(name.as_str()),
            Step::Each | Step::Values => None,
        })
    }

    /// The field of the row that the path leads into, and the steps from there; none if it leads somewhere else.
    pub fn in_field(&self) -> Option<(&str, &[Step])> {
        match self.steps.split_first() {
            Some((Step::Field(name), below)) if self.up == 0 && !self.is_key => Some((name, below)),
            _ => None,
        }
    }

    /// True if an object has the place of the path's values, with or without values.
    pub fn is_in(&self, object: &Node<'_>) -> bool {
        let mut value = object;
        for step in &self.steps {
            match step {
                Step::Field(name) => match value.get(name.as_str()) {
                    Some(inner) => value = inner,
                    None => return false,
                },
                Step::Each => return value.as_list().is_some(),
                Step::Values => return value.is_object() || value.as_list().is_some(),
            }
        }
        !value.is_null()
    }

    /// The value in which the path first steps into many: an array, or an object of values.
    pub fn collection<'n, 'v>(&self, scopes: &[Scope<'n, 'v>]) -> Option<&'n Node<'v>> {
        let mut value = self.start(scopes)?.node;
        for step in &self.steps {
            match step {
                Step::Field(name) => value = value.get(name.as_str())?,
                Step::Each | Step::Values => return Some(value),
            }
        }
        None
    }

    /// Calls `visit` with the scopes of each value at the end of the path, that value last.
    pub fn walk<'n, 'v>(&self, scopes: &[Scope<'n, 'v>], visit: &mut dyn FnMut(&[Scope<'n, 'v>])) -> Walked {
        let mut walked = Walked::default();
        if let Some(end) = scopes.len().checked_sub(self.up) {
            let mut stack = scopes[..end].to_vec();
            descend(&self.steps, &mut stack, &mut walked, visit);
        }
        walked
    }

    fn start<'n, 'v>(&self, scopes: &[Scope<'n, 'v>]) -> Option<Scope<'n, 'v>> {
        scopes.get(scopes.len().checked_sub(self.up + 1)?).copied()
    }
}

/// Walks from the last of the scopes. Each value of a list, and the value at the end, becomes a scope of its own.
fn descend<'n, 'v>(
    steps: &[Step],
    scopes: &mut Vec<Scope<'n, 'v>>,
    walked: &mut Walked,
    visit: &mut dyn FnMut(&[Scope<'n, 'v>]),
) {
    if steps.is_empty() {
        walked.values += 1;
        visit(scopes);
        return;
    }
    let Some(mut node) = scopes.last().map(|scope| scope.node) else {
        return;
    };
    for (at, step) in steps.iter().enumerate() {
        let rest = &steps[at + 1..];
        let mut enter = |scope| {
            scopes.push(scope);
            descend(rest, scopes, walked, visit);
            scopes.pop();
        };
        match (step, node) {
            (Step::Field(name), _) => match node.get(name.as_str()).filter(|inner| !inner.is_null()) {
                Some(inner) => node = inner,
                None => {
                    walked.missing += 1;
                    return;
                }
            },
            (_, Node::Null) => {
                walked.missing += 1;
                return;
            }
            // An object by key that is empty is written as a list by some languages.
            (_, Node::List(elements)) => return elements.iter().map(Scope::from).for_each(enter),
            (Step::Values, Node::Object(object)) => {
                return object.entries().for_each(|(key, node)| {
                    enter(Scope { node, key: Some(key) });
                });
            }
            _ => {
                walked.misshapen += 1;
                return;
            }
        }
    }
    scopes.push(node.into());
    walked.values += 1;
    visit(scopes);
    scopes.pop();
}

/// A part of a path between two dots.
#[derive(Default)]
struct Part {
    text: String,
    many: Vec<Step>,
    /// True if a backslash stands in it.
    is_escaped: bool,
    /// A character that can't be a part of a name.
    foreign: Option<char>,
}

/// Splits a path at its dots; a backslash escapes the next character.
fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part::default();
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        let after = rest.as_str();
        match char {
            '.' => parts.push(std::mem::take(&mut part)),
            '\\' => {
                part.is_escaped = true;
                part.text.extend(rest.next());
            }
            '[' if after.starts_with(']') => {
                part.many.push(Step::Each);
                rest.next();
            }
            '{' if after.starts_with('}') => {
                part.many.push(Step::Values);
                rest.next();
            }
            char => {
                let is_late = !part.many.is_empty();
                part.foreign = part
                    .foreign
                    .or((is_late || FOREIGN.contains(&char)).then_some(char));
                part.text.push(char);
            }
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn paths_step_in_and_out() {
        let report =
            json!({"a.b": 1, "polls": [{"id": "p", "votes": [{"o": {"id": 7}, "@odata.type": "t"}]}]});
        let poll = &report["polls"][0];
        let nodes = [&report, poll, &poll["votes"][0]].map(Node::from);
        let scopes = nodes.each_ref().map(Scope::from);
        let at = |path: &str| {
            let value = Path::parse(path).expect(path).value(&scopes);
            value.map(|value| value.to_value())
        };
        assert_eq!(at("o.id"), Some(json!(7)));
        assert_eq!(at("^.id"), Some(json!("p")));
        assert_eq!(at("^^.a\\.b"), Some(json!(1)));
        assert_eq!(at("@odata\\.type"), Some(json!("t")));
        assert_eq!(at("@"), Some(poll["votes"][0].clone()));
        assert_eq!(at("^"), Some(poll.clone()));
        assert_eq!(at("^^^.id"), None);
        assert_eq!(at("@key"), None);
        assert_eq!(Path::parse("data.users[]").expect("path").arrays(), 1);
        assert_eq!(Path::parse("[][]").expect("path").steps, [Step::Each, Step::Each]);
        assert_eq!(Path::parse("{}").expect("path").steps, [Step::Values]);
    }

    /// The values at the end of a path, each with a path that is read from there.
    fn walked(report: &Value, path: &str, inner: &str) -> (Vec<Value>, Walked) {
        let (report, inner) = (Node::from(report), Path::parse(inner).expect(inner));
        let mut found = Vec::new();
        let walked = Path::parse(path)
            .expect(path)
            .walk(&[Scope::from(&report)], &mut |scopes| {
                found.push(inner.value(scopes).map_or(Value::Null, |value| value.to_value()));
            });
        (found, walked)
    }

    #[test]
    fn an_object_by_key_is_walked_with_its_keys() {
        let report =
            json!({"users": {"u1": {"ids": {"i1": {"x": 1}, "i2": {"x": 2}}}, "u2": {"ids": {}}, "u3": {}}});
        assert_eq!(walked(&report, "users{}", "@key").0, ["u1", "u2", "u3"]);
        let (keys, counts) = walked(&report, "users{}.ids{}", "^@key");
        assert_eq!(keys, ["u1", "u1"]);
        assert_eq!((counts.values, counts.missing, counts.misshapen), (2, 1, 0));
        assert_eq!(walked(&report, "users{}.ids{}", "@key").0, ["i1", "i2"]);
        assert_eq!(walked(&report, "users{}.ids", "^@key").0, ["u1", "u2"]);
        assert_eq!(walked(&json!({"a": 1, "b": 2}), "{}", "@").0, [1, 2]);
    }

    #[test]
    fn a_place_of_another_shape_is_told_from_a_missing_one() {
        let counts = |report: Value| walked(&report, "a{}.b[]", "@").1;
        let of = |values, missing, misshapen| Walked {
            values,
            missing,
            misshapen,
        };
        assert_eq!(counts(json!({})), of(0, 1, 0));
        assert_eq!(counts(json!({"a": null})), of(0, 1, 0));
        assert_eq!(counts(json!({"a": {}})), of(0, 0, 0));
        assert_eq!(counts(json!({"a": []})), of(0, 0, 0));
        assert_eq!(counts(json!({"a": 5})), of(0, 0, 1));
        assert_eq!(
            counts(json!({"a": {"k": {"b": {}}, "l": {"b": [1]}}})),
            of(1, 0, 1)
        );
    }

    #[test]
    fn a_wrong_path_is_refused() {
        for path in [
            "",
            "a..b",
            ".",
            "^id",
            "a.[]",
            "[].[]",
            "users.*[]",
            "*",
            "users[0]",
            "users[*].id",
            "$.users[]",
            "a[]b",
            "a{key}",
            "a[",
            "a.@key",
            "users{}.@key",
            "@.name",
            "^^id",
            "a.{}",
        ] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
        assert_eq!(Path::parse("a\\*.b\\[\\]").expect("path").arrays(), 0);
        let field = Path::parse("\\@key").expect("path");
        assert_eq!(field.steps, [Step::Field("@key".into())]);
    }
}

//! Source paths of the mapping: `participants[]`, `^.id`, `@`. Pure; parsed once, walked for every row.

use super::node::Node;

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The field of an object.
    Field(String),
    /// The elements of an array.
    Each,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// Arrays to step out of first.
    pub up: usize,
    /// The steps from there; the value itself if there are none.
    pub steps: Vec<Step>,
}

impl Path {
    /// Parses a path of the mapping; the error is only the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.trim_start_matches('^');
        let up = text.len() - rest.len();
        let rest = if up > 0 && !rest.is_empty() {
            rest.strip_prefix('.')
                .ok_or_else(|| format!("`{text}`: after `^` comes `.` and a field"))?
        } else {
            rest
        };
        if rest == "@" || (up > 0 && rest.is_empty()) {
            return Ok(Self {
                up,
                steps: Vec::new(),
            });
        }
        let mut steps = Vec::new();
        for part in split(rest) {
            let mut name = part.as_str();
            let mut arrays = 0;
            while let Some(shorter) = name.strip_suffix("[]") {
                name = shorter;
                arrays += 1;
            }
            // `[]` alone steps into a report that is itself an array.
            if name.is_empty() && (arrays == 0 || !steps.is_empty()) {
                return Err(format!("`{text}`: a field's name is missing"));
            }
            if !name.is_empty() {
                steps.push(Step::Field(name.to_owned()));
            }
            steps.extend(std::iter::repeat_n(Step::Each, arrays));
        }
        Ok(Self { up, steps })
    }

    /// The number of arrays that the path steps into.
    pub fn arrays(&self) -> usize {
        self.steps.iter().filter(|step| **step == Step::Each).count()
    }

    /// True if it means the row itself.
    pub fn is_here(&self) -> bool {
        self.up == 0 && self.steps.is_empty()
    }

    /// The steps after the first array.
    pub fn after_each(&self) -> &[Step] {
        match self.steps.iter().position(|step| *step == Step::Each) {
            Some(at) => &self.steps[at + 1..],
            None => &[],
        }
    }

    /// The path to what `other` finds from the end of this one.
    pub fn then(&self, other: &Self) -> Self {
        Self {
            up: self.up,
            steps: [self.steps.as_slice(), &other.steps].concat(),
        }
    }

    /// The value at a path without arrays. `scopes` are the enclosing values, the report first and the row last.
    pub fn value<'n, 'v>(&self, scopes: &[&'n Node<'v>]) -> Option<&'n Node<'v>> {
        let mut value = self.start(scopes)?;
        for step in &self.steps {
            match step {
                Step::Field(name) => value = value.get(name.as_str())?,
                Step::Each => return None,
            }
        }
        Some(value)
    }

    /// The elements of the first array of a path; without an array, the value itself as the only element.
    pub fn elements<'n, 'v>(&self, scopes: &[&'n Node<'v>]) -> Option<&'n [Node<'v>]> {
        let mut value = self.start(scopes)?;
        for step in &self.steps {
            match step {
                Step::Field(name) => value = value.get(name.as_str())?,
                Step::Each => return value.as_list(),
            }
        }
        Some(std::slice::from_ref(value))
    }

    /// The value in the place of the path's first array.
    pub fn list<'n, 'v>(&self, scopes: &[&'n Node<'v>]) -> Option<&'n Node<'v>> {
        let mut value = self.start(scopes)?;
        for step in &self.steps {
            match step {
                Step::Field(name) => value = value.get(name.as_str())?,
                Step::Each => return Some(value),
            }
        }
        None
    }

    fn start<'n, 'v>(&self, scopes: &[&'n Node<'v>]) -> Option<&'n Node<'v>> {
        scopes.get(scopes.len().checked_sub(self.up + 1)?).copied()
    }
}

/// Splits a path at its dots; a backslash escapes the next character.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let part = parts.last_mut();
        match (char, part) {
            ('.', _) => parts.push(String::new()),
            ('\\', Some(part)) => part.extend(chars.next()),
            (char, Some(part)) => part.push(char),
            (_, None) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_step_in_and_out() {
        let report = json!({"a.b": 1, "polls": [{"id": "p", "votes": [{"o": {"id": 7}}]}]});
        let poll = &report["polls"][0];
        let nodes = [&report, poll, &poll["votes"][0]].map(Node::from);
        let scopes = nodes.each_ref();
        let at = |path: &str| Path::parse(path).expect(path).value(&scopes).map(Node::to_value);
        assert_eq!(at("o.id"), Some(json!(7)));
        assert_eq!(at("^.id"), Some(json!("p")));
        assert_eq!(at("^^.a\\.b"), Some(json!(1)));
        assert_eq!(at("@"), Some(poll["votes"][0].clone()));
        assert_eq!(at("^"), Some(poll.clone()));
        assert_eq!(at("^^^.id"), None);
        assert_eq!(Path::parse("data.users[]").expect("path").arrays(), 1);
        assert_eq!(Path::parse("[][]").expect("path").steps, [Step::Each, Step::Each]);
    }

    #[test]
    fn a_wrong_path_is_refused() {
        for path in ["", "a..b", ".", "^id", "a.[]", "[].[]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}

//! Finds the element of another list that a row refers to. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::Node;
use super::path::{Path, Scope};
use crate::tables::mapping::plan::LookupPlan;

/// The most elements of a list that is searched one by one. A longer one gets an index, so that a hostile report does not
/// cost a search for each row.
const MOST_SEARCHED: usize = 16;

/// The indexes of long lists, by column. Each is of the last list that was searched.
#[derive(Debug, Default)]
pub(crate) struct Lookups(HashMap<usize, ListIndex>);

/// The positions of a list's elements by their keys.
#[derive(Debug)]
struct ListIndex {
    /// The address of the list, which tells it from the one of another scope.
    address: usize,
    by_key: HashMap<String, usize>,
}

impl Lookups {
    /// The value that a lookup finds for the row that these scopes lead to.
    pub fn value<'n, 'v>(
        &mut self,
        column: usize,
        plan: &LookupPlan,
        scopes: &[Scope<'n, 'v>],
    ) -> Option<Cow<'n, Node<'v>>> {
        let by = first(&plan.by, scopes)?;
        let by = &*by.to_text()?;
        let list = plan.find.collection(scopes)?;
        let found = match list {
            Node::List(elements) if elements.len() > MOST_SEARCHED => {
                let address = std::ptr::from_ref(list) as usize;
                if self.0.get(&column).is_none_or(|index| index.address != address) {
                    let by_key = index(plan, elements);
                    self.0.insert(column, ListIndex { address, by_key });
                }
                let at = self.0.get(&column)?.by_key.get(by)?;
                Scope::from(elements.get(*at)?)
            }
            Node::List(elements) => elements
                .iter()
                .map(Scope::from)
                .find(|scope| is_it(plan, scope, by))?,
            Node::Object(object) => {
                let mut entries = object.entries().map(|(key, node)| Scope { node, key: Some(key) });
                entries.find(|scope| is_it(plan, scope, by))?
            }
            _ => return None,
        };
        first(&plan.take, &[found])
    }
}

fn index(plan: &LookupPlan, elements: &[Node<'_>]) -> HashMap<String, usize> {
    let mut by_key = HashMap::new();
    for (at, element) in elements.iter().enumerate() {
        let scopes = [Scope::from(element)];
        for key in plan.key.iter().filter_map(|path| path.value(&scopes)) {
            if let Some(text) = key.to_text() {
                by_key.entry(text.into_owned()).or_insert(at);
            }
        }
    }
    by_key
}

/// True if one of an element's keys is a text, or a number or truth value with these digits or letters.
fn is_it(plan: &LookupPlan, element: &Scope<'_, '_>, by: &str) -> bool {
    let scopes = [*element];
    let mut keys = plan.key.iter().filter_map(|path| path.value(&scopes));
    keys.any(|key| key.to_text().as_deref() == Some(by))
}

/// The first value that exists and is not null.
pub(crate) fn first<'n, 'v>(paths: &[Path], scopes: &[Scope<'n, 'v>]) -> Option<Cow<'n, Node<'v>>> {
    paths
        .iter()
        .filter_map(|path| path.value(scopes))
        .find(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_list_gives_what_a_short_one_gives() {
        let paths = |text: &str| vec![Path::parse(text).expect(text)];
        let plan = LookupPlan {
            find: Path::parse("^.options[]").expect("a path"),
            key: [paths("id"), paths("text")].concat(),
            by: paths("option"),
            take: paths("text"),
        };
        for size in [3, 300] {
            let options: Vec<_> = (0..size)
                .map(|id| json!({"id": id, "text": format!("t{}", id / 2)}))
                .collect();
            let report = json!({"options": options, "votes": [{"option": "2"}, {"option": 1}, {"option": "t1"}, {"option": "x"}, {}]});
            let node = Node::from(&report);
            let votes = node.get("votes").and_then(Node::as_list).expect("votes");
            let mut lookups = Lookups::default();
            let mut value = |vote| {
                let found = lookups.value(0, &plan, &[Scope::from(&node), Scope::from(vote)]);
                found.map(|text| text.to_text().expect("text").into_owned())
            };
            let found: Vec<_> = votes.iter().map(&mut value).collect();
            let text = |text: &str| Some(text.to_owned());
            assert_eq!(found, [text("t1"), text("t0"), text("t1"), None, None], "{size}");
        }
    }
}

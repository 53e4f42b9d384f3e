//! Reads the fields around the items of a page: `total`, and the fields that promise further pages. Pure; used by `wire`.

use serde_json::{Map, Value};

use crate::lenient;

/// A page's statement about further pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum More {
    /// The page does not say.
    #[default]
    Unsaid,
    /// There are no further pages.
    No,
    /// There are further pages, according to this field.
    Yes(String),
}

/// The fields around a page's items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageEnvelope {
    /// The server's count of items on all pages.
    pub(super) total: Option<u64>,
    /// The statement about further pages.
    pub(super) more: More,
    /// The server's count of pages.
    pub(super) pages: Option<u64>,
}

/// Objects in which APIs put their paging fields.
const CONTAINERS: [&str; 8] = [
    "meta",
    "pagination",
    "paging",
    "page",
    "pageinfo",
    "links",
    "_links",
    "cursors",
];
/// Boolean fields, in lower case and without `_` and `-`, that say if there is more.
const FLAGS: [&str; 4] = ["hasmore", "hasnext", "hasnextpage", "more"];
/// Fields that point to the next page, besides those that begin with `next`.
const CURSORS: [&str; 3] = ["cursor", "continuation", "continuationtoken"];
const TOTALS: [&str; 3] = ["total", "totalcount", "totalitems"];
const PAGES: [&str; 3] = ["totalpages", "pagecount", "lastpage"];
/// The number of nested containers that are searched.
const DEEPEST: usize = 2;

impl PageEnvelope {
    /// Reads an answer without its items.
    pub(super) fn read(object: &Map<String, Value>) -> Self {
        let mut envelope = Self {
            total: object.get("total").and_then(count),
            ..Self::default()
        };
        envelope.look_into(object, DEEPEST);
        envelope
    }

    fn look_into(&mut self, object: &Map<String, Value>, depth: usize) {
        for (key, value) in object {
            let name = plain(key);
            if let Some(nested) = value.as_object()
                && CONTAINERS.contains(&name.as_str())
            {
                if depth > 0 {
                    self.look_into(nested, depth - 1);
                }
            } else if TOTALS.contains(&name.as_str()) {
                self.total = self.total.or(count(value));
            } else if PAGES.contains(&name.as_str()) {
                self.pages = self.pages.or(count(value));
            } else if FLAGS.contains(&name.as_str()) {
                match lenient::boolean(value) {
                    Some(true) => self.more = More::Yes(key.clone()),
                    Some(false) if self.more == More::Unsaid => self.more = More::No,
                    _ => {}
                }
            } else if (name.starts_with("next") || CURSORS.contains(&name.as_str())) && leads_on(value) {
                self.more = More::Yes(key.clone());
            }
        }
    }
}

/// A key in the form in which it is compared.
fn plain(key: &str) -> String {
    let leading = if key.starts_with('_') { "_" } else { "" };
    let rest = key.chars().filter(|c| !matches!(c, '_' | '-'));
    leading.chars().chain(rest).collect::<String>().to_lowercase()
}

fn count(value: &Value) -> Option<u64> {
    lenient::integer(value)?.try_into().ok()
}

/// True if a field that should point to the next page has a value.
fn leads_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => object.values().any(leads_on),
    }
}

/// The most keys that an error names, and the longest key that it names.
const NAMED: usize = 5;
const LONGEST_NAME: usize = 32;

/// Describes an answer that is no list. It names only keys that are plain words, because other keys may be names or
/// numbers of people. It never names a value.
pub(super) fn describe(answer: &Value) -> String {
    match answer {
        Value::Object(object) if object.contains_key("items") => {
            format!("answered `items` that are {}, not a list", kind(&object["items"]))
        }
        Value::Object(object) if object.is_empty() => "answered an empty object; a list needs `items`".into(),
        Value::Object(object) => describe_keys(object),
        other => format!("answered {}, not a list", kind(other)),
    }
}

fn describe_keys(object: &Map<String, Value>) -> String {
    let named: Vec<_> = object
        .keys()
        .filter(|key| is_plain_word(key))
        .take(NAMED)
        .map(|key| format!("`{key}`"))
        .collect();
    let others = object.len() - named.len();
    let keys = match (named.is_empty(), others) {
        (true, _) => format!("{others} keys that may be personal"),
        (false, 0) if named.len() == 1 => format!("the key {}", named[0]),
        (false, 0) => format!("the keys {}", named.join(", ")),
        (false, _) => format!("the keys {} and {others} more", named.join(", ")),
    };
    format!("answered an object with {keys}; a list needs `items`")
}

/// True if a key looks like a programmer's word, and not like an id, a name or an address.
fn is_plain_word(key: &str) -> bool {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    (1..=LONGEST_NAME).contains(&key.len())
        && key
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
        && digits <= 2
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(answer: &Value) -> PageEnvelope {
        PageEnvelope::read(answer.as_object().expect("an object"))
    }

    #[test]
    fn fields_that_promise_further_pages_are_found() {
        for (field, answer) in [
            ("hasMore", json!({"hasMore": true})),
            ("has_more", json!({"has_more": true, "next": null})),
            (
                "hasNextPage",
                json!({"pageInfo": {"hasNextPage": true, "endCursor": "x"}}),
            ),
            ("next", json!({"next": "https://example.org?page=2"})),
            ("nextPage", json!({"nextPage": 2})),
            ("next_page", json!({"meta": {"pagination": {"next_page": 2}}})),
            ("nextCursor", json!({"nextCursor": "abc", "hasMore": null})),
            ("nextPageToken", json!({"nextPageToken": "abc"})),
            ("cursor", json!({"paging": {"cursor": "abc"}})),
            (
                "next",
                json!({"links": {"next": {"href": "/v1/spaces?page=2"}, "prev": null}}),
            ),
            ("next", json!({"_links": {"next": "/v1/spaces?page=2"}})),
        ] {
            assert_eq!(read(&answer).more, More::Yes(field.into()), "{answer}");
        }
    }

    #[test]
    fn empty_fields_promise_no_further_pages() {
        for answer in [
            json!({"next": null, "nextCursor": "", "nextPage": 0, "cursor": false, "links": {"next": {"href": null}}}),
            json!({"items": [], "total": 3, "limit": 100, "offset": 0, "page": 1}),
            json!({"filters": {"next": "x"}}),
        ] {
            assert_eq!(read(&answer).more, More::Unsaid, "{answer}");
        }
        assert_eq!(read(&json!({"hasMore": false, "next": null})).more, More::No);
    }

    #[test]
    fn a_total_may_be_nested_but_the_guides_field_wins() {
        assert_eq!(read(&json!({"meta": {"total": "7"}})).total, Some(7));
        assert_eq!(read(&json!({"meta": {"total": 7}, "total": 9})).total, Some(9));
        assert_eq!(read(&json!({"totalCount": 7, "totalPages": 2})).pages, Some(2));
        assert_eq!(read(&json!({"total": "many"})).total, None);
    }

    #[test]
    fn an_answer_without_a_list_is_described_by_its_keys_without_personal_data() {
        assert_eq!(
            describe(&json!({"data": [{"name": "x"}], "meta": {}})),
            "answered an object with the keys `data`, `meta`; a list needs `items`"
        );
        assert_eq!(
            describe(&json!({"Иван Иванов": 1, "ivan@example.org": 2, "79161234567": 3, "ok": 4})),
            "answered an object with the keys `ok` and 3 more; a list needs `items`"
        );
        assert_eq!(
            describe(&json!({"60d55c0eb9ef88ab17b0aabb": 1})),
            "answered an object with 1 keys that may be personal; a list needs `items`"
        );
        let many: Map<String, Value> = ('a'..='z').map(|key| (key.into(), Value::Null)).collect();
        assert_eq!(
            describe(&Value::Object(many)),
            "answered an object with the keys `a`, `b`, `c`, `d`, `e` and 21 more; a list needs `items`"
        );
        assert_eq!(
            describe(&json!({"items": {}})),
            "answered `items` that are an object, not a list"
        );
        assert_eq!(describe(&json!("secret")), "answered a text, not a list");
    }
}

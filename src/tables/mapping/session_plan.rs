//! The resolved feed of a column of sessions. Pure.

use std::collections::HashSet;

use super::feed::{EventRules, Feed, SessionSource};
use super::paths;
use super::row_place::RowPlace;
use super::value_rules::ValueRules;
use crate::lake::table::{Type, builtin};
use crate::tables::report::path::Path;

/// The fields of a session.
const JOINED: &str = "joined_at";
const LEFT: &str = "left_at";
const LENGTH: &str = "duration_s";

/// The resolved feed of a column of sessions.
#[derive(Debug, Clone)]
pub(crate) struct SessionPlan {
    pub joined: Vec<Path>,
    pub left: Vec<Path>,
    /// A length in seconds, for sessions without an end.
    pub length: Vec<Path>,
    /// How times and lengths are read.
    pub values: ValueRules,
    /// Sessions outside of the row.
    pub elsewhere: Option<SessionList>,
    /// The column that counts the stays that can't be read.
    pub unreadable: Option<usize>,
}

/// A list that holds the sessions of all rows.
#[derive(Debug, Clone)]
pub(crate) struct SessionList {
    pub list: Path,
    /// The fields of an element that name its row; none if the list is the row's own.
    pub key: Vec<Path>,
    /// The row's values that equal the key.
    pub equals: Vec<Path>,
    /// The fields of an event, if the elements are events.
    pub events: Option<EventPlan>,
}

/// The fields of an event.
#[derive(Debug, Clone)]
pub(crate) struct EventPlan {
    pub at: Vec<Path>,
    pub kind: Vec<Path>,
    /// Folded types that begin a session, and that end one.
    pub join: HashSet<String>,
    pub leave: HashSet<String>,
}

impl SessionPlan {
    pub(super) fn resolve(
        place: RowPlace<'_>,
        kind: Type,
        name: &str,
        feed: &Feed,
    ) -> Result<Option<Self>, String> {
        if kind != Type::Sessions {
            return Ok(None);
        }
        let fields = &feed.fields;
        let has = |name| fields.contains_key(name);
        if let Some(unknown) = fields
            .keys()
            .find(|name| ![JOINED, LEFT, LENGTH].contains(&name.as_str()))
        {
            return Err(format!(
                "`fields` has no `{unknown}`: it names `{JOINED}`, and `{LEFT}` or `{LENGTH}`"
            ));
        }
        let elsewhere = feed.elsewhere.as_ref().map(SessionList::resolve).transpose()?;
        let needs_fields =
            !feed.from.is_empty() || elsewhere.as_ref().is_some_and(|list| list.events.is_none());
        if needs_fields && !(has(JOINED) && (has(LEFT) || has(LENGTH))) {
            return Err(format!(
                "`fields` must name `{JOINED}`, and `{LEFT}` or `{LENGTH}`"
            ));
        }
        let of = |name| fields.get(name).map_or(Ok(Vec::new()), paths);
        let plan = Self {
            joined: of(JOINED)?,
            left: of(LEFT)?,
            length: of(LENGTH)?,
            values: ValueRules::resolve(kind, name, &feed.options, place.instants)?,
            elsewhere,
            unreadable: place.table.index(builtin::participants::sessions_unreadable),
        };
        if plan.fields().any(|path| path.arrays() > 0) {
            return Err("a session's fields are single values: a path of them steps into an array".into());
        }
        if feed.options.scale.is_some() && plan.length.is_empty() {
            return Err(format!(
                "the `scale` of sessions is that of `{LENGTH}` in `fields`"
            ));
        }
        if let Some(list) = &plan.elsewhere {
            place.check(list.equals.iter().chain([&list.list]))?;
        }
        // A session sees what its row sees, and the lists in between.
        let deepest = paths(&feed.from)?
            .iter()
            .map(|path| place.depth() + path.arrays().max(1))
            .max();
        let deepest = deepest.max(
            plan.elsewhere
                .as_ref()
                .map(|list| place.depth() + list.list.arrays()),
        );
        if plan.fields().any(|path| Some(path.up) >= deepest) {
            return Err("a path in `fields` has more `^` than the session lies deep".into());
        }
        Ok(Some(plan))
    }

    /// The paths of a session's own fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Path> {
        self.joined.iter().chain(&self.left).chain(&self.length)
    }
}

impl SessionList {
    fn resolve(source: &SessionSource) -> Result<Self, String> {
        let list = Path::parse(&source.list)?;
        let name = match source.events {
            Some(_) => "events",
            None => "list",
        };
        if list.arrays() == 0 {
            return Err(format!("`{name}` must step into a list: `{}[]`", source.list));
        }
        let resolved = Self {
            list,
            key: paths(&source.key)?,
            equals: paths(&source.equals)?,
            events: source.events.as_ref().map(EventPlan::resolve).transpose()?,
        };
        let events = resolved
            .events
            .iter()
            .flat_map(|events| events.at.iter().chain(&events.kind));
        if (resolved.key.iter().chain(&resolved.equals).chain(events)).any(|path| path.arrays() > 0) {
            return Err(
                "`key`, `equals`, `at` and `type` are single values: a path of them steps into an array"
                    .into(),
            );
        }
        Ok(resolved)
    }

    /// The fields of the list's elements that are read.
    pub(super) fn fields<'p>(&'p self, session: &'p SessionPlan) -> Box<dyn Iterator<Item = &'p Path> + 'p> {
        match &self.events {
            Some(events) => Box::new(self.key.iter().chain(&events.at).chain(&events.kind)),
            None => Box::new(self.key.iter().chain(session.fields())),
        }
    }
}

impl EventPlan {
    fn resolve(rules: &EventRules) -> Result<Self, String> {
        let plan = Self {
            at: paths(&rules.at)?,
            kind: paths(&rules.kind)?,
            join: rules.join.folded(),
            leave: rules.leave.folded(),
        };
        if plan.join.is_empty() {
            return Err("`join` must name a type of event".into());
        }
        match plan.join.intersection(&plan.leave).next() {
            Some(both) => Err(format!("`{both}` is in `join` and in `leave`")),
            None => Ok(plan),
        }
    }
}

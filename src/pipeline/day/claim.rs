//! The claim protocol of a day, as pure decisions: may this process write tables, and does the day's marker stay?
//!
//! A process claims a day before it writes a table: it commits the manifest, conditionally, with `building` set to an id
//! that was never used. It commits without the id when all tables are written. If two processes claim the same day, the
//! later claim wins, because the conditional commit of the earlier process fails from then on. `publish` and `commit` do
//! the writing.

/// The claims of this process on a day, and its knowledge of other processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct DayClaim {
    /// Every id that this process has tried to commit. Its answer may have been lost, so a failed one counts too.
    tried: Vec<String>,
    /// The id that this process has committed in the present attempt.
    current: Option<String>,
    rival: Rival,
}

/// The other process that this one has met on the day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Rival {
    /// There was none.
    #[default]
    None,
    /// Another process has committed the day meanwhile.
    Met,
    /// Another process had claimed the day, and this process took it over. The other one may still be alive.
    Ousted,
}

impl DayClaim {
    /// Begins an attempt to build the day. A claim of an earlier attempt no longer counts.
    pub fn begin_attempt(&mut self) {
        self.current = None;
    }

    /// Makes a new id. It is never one that was used before, because the same bytes would be the same version of the
    /// manifest.
    pub fn new_id(&mut self) -> String {
        let id = format!("{:032x}", fastrand::u128(..));
        self.tried.push(id.clone());
        id
    }

    /// Notes that the manifest with this id was committed.
    pub fn committed(&mut self, id: String) {
        self.current = Some(id);
    }

    /// Notes that another process has committed the day since it was read.
    pub fn meet_rival(&mut self) {
        self.rival = self.rival.max(Rival::Met);
    }

    /// Notes that this process takes the day from another one, which may still be alive.
    pub fn oust_rival(&mut self) {
        self.rival = Rival::Ousted;
    }

    /// True if this process may write tables: the stored manifest has the claim of its present attempt.
    pub fn may_publish(&self, stored: Option<&str>) -> bool {
        self.current.is_some() && self.current.as_deref() == stored
    }

    /// True if another process has claimed the day, or had when it died. `stored` is the claim in the stored manifest.
    pub fn is_of_another(&self, stored: Option<&str>) -> bool {
        stored.is_some_and(|id| !self.tried.iter().any(|tried| tried == id))
    }

    /// True if another process has committed or claimed the day, so that tables may be in the store which the manifest
    /// does not name.
    pub fn has_met_rival(&self) -> bool {
        self.rival != Rival::None
    }

    /// True if the marker of the day stays after a commit. An ousted process that is still alive may overwrite a table
    /// that this process did not have to write, so the next run must check all tables again.
    pub fn keeps_marker(&self, is_open: bool) -> bool {
        is_open || self.rival == Rival::Ousted
    }
}

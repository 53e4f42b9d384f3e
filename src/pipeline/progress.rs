//! The progress of a run: counters that the pipeline advances and that a terminal, a log or the page shows. No I/O.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The run has not begun.
    #[default]
    Start,
    /// Listing: rooms × dates.
    Walk,
    /// Landing and building days.
    Days,
}

/// A counter with its goal.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    goal: AtomicU64,
}

impl Meter {
    /// Raises the goal.
    pub fn add_goal(&self, more: u64) {
        self.goal.fetch_add(more, Ordering::Relaxed);
    }

    /// Adds steps that were done.
    pub fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
    }

    /// The steps done, and the goal.
    pub fn get(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.goal.load(Ordering::Relaxed),
        )
    }
}

/// A run's progress.
#[derive(Debug, Default)]
pub struct Progress {
    phase: Mutex<Phase>,
    /// Listing requests.
    pub listings: Meter,
    /// Days.
    pub days: Meter,
    /// Reports.
    pub reports: Meter,
    /// Recordings.
    pub recordings: Meter,
    /// Bytes of recordings. The goal is the sum of the sizes that the API says.
    pub recorded_bytes: Meter,
}

impl Progress {
    /// Begins a phase and adds `goal` steps to its goal.
    pub fn enter(&self, phase: Phase, goal: u64) {
        *self.phase.lock() = phase;
        match phase {
            Phase::Start => {}
            Phase::Walk => self.listings.add_goal(goal),
            Phase::Days => self.days.add_goal(goal),
        }
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        *self.phase.lock()
    }
}

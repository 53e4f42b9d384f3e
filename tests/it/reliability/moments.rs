//! The moments of a run at which a fault happens: each call of the store of an undisturbed run, named by
//! its action, so that it is found again beside other processes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::soak;
use crate::support::faulty::{Call, Fault, Faulty};
use crate::support::memory::Memory;

/// The `nth` time of a call.
#[derive(Debug, Clone)]
pub struct Moment {
    call: Call,
    nth: usize,
}

/// A call without the parts that differ between runs: the last part of the names of summaries and of import markers.
fn named(call: &Call) -> Call {
    let key = match call.key.rsplit_once('/') {
        Some((folder, _)) if folder.starts_with("_telelake/runs") => folder,
        Some((folder, _)) if folder.starts_with("_telelake/meta/changed") => folder,
        _ => &call.key,
    };
    Call {
        key: key.into(),
        ..call.clone()
    }
}

/// The moments of an undisturbed run: in a soak all of them, in the suite every so many-th of what it wrote of the
/// lake's state and tables, and of the rest.
pub fn moments(undisturbed: &Faulty, (of_state, of_rest): (usize, usize)) -> Vec<Moment> {
    let mut met: HashMap<Call, usize> = HashMap::new();
    let (mut state, mut rest) = (0, 0);
    let mut moments = Vec::new();
    for call in undisturbed.calls() {
        let call = named(&call);
        let nth = met.entry(call.clone()).or_default();
        *nth += 1;
        let telling =
            call.op.is_write() && (call.key.ends_with(".parquet") || call.key.starts_with("_telelake/"));
        let (count, step) = match telling {
            true => (&mut state, of_state),
            false => (&mut rest, of_rest),
        };
        *count += 1;
        if soak().is_some() || *count % step == 0 {
            moments.push(Moment { call, nth: *nth });
        }
    }
    moments
}

impl Moment {
    /// A store with the `fault` at the moment.
    pub fn strike(&self, store: &Memory, fault: Fault) -> Faulty {
        let (moment, met) = (self.clone(), AtomicUsize::new(0));
        Faulty::new(store.clone(), move |call, _| {
            let hit = named(call) == moment.call && met.fetch_add(1, Ordering::Relaxed) + 1 == moment.nth;
            hit.then(|| fault.clone())
        })
    }
}

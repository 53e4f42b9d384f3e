use proptest::prelude::*;

use crate::pipeline::day::claim::DayClaim;

#[test]
fn a_process_may_publish_only_while_its_claim_is_in_the_manifest() {
    let mut claim = DayClaim::default();
    assert!(!claim.may_publish(None));
    claim.begin_attempt();
    let id = claim.new_id();
    assert!(!claim.may_publish(None), "the claim is not committed yet");
    assert!(
        !claim.may_publish(Some(&id)),
        "the answer to the commit did not arrive"
    );
    claim.committed(id.clone());
    assert!(claim.may_publish(Some(&id)));
    assert!(!claim.may_publish(Some("of another process")));
    assert!(!claim.may_publish(None));
    claim.begin_attempt();
    assert!(!claim.may_publish(Some(&id)), "a new attempt needs a new claim");
}

#[test]
fn a_claim_whose_answer_was_lost_is_not_of_another_process() {
    let mut claim = DayClaim::default();
    assert!(!claim.is_of_another(None));
    assert!(claim.is_of_another(Some("x")));
    let lost = claim.new_id();
    let second = claim.new_id();
    assert_ne!(lost, second, "an id is never used twice");
    assert!(!claim.is_of_another(Some(&lost)));
    assert!(!claim.is_of_another(Some(&second)));
}

#[test]
fn the_marker_stays_for_an_open_day_and_after_a_rival_was_ousted() {
    let mut claim = DayClaim::default();
    assert!(claim.keeps_marker(true));
    assert!(!claim.keeps_marker(false));
    assert!(!claim.has_met_rival());
    claim.meet_rival();
    assert!(claim.has_met_rival());
    assert!(!claim.keeps_marker(false), "the rival has committed its work");
    claim.oust_rival();
    assert!(claim.keeps_marker(false));
    claim.meet_rival();
    assert!(claim.keeps_marker(false), "the doubt is never dropped");
    claim.begin_attempt();
    assert!(claim.keeps_marker(false));
}

/// A store with one day of one table.
#[derive(Debug, Default)]
struct Model {
    version: u64,
    building: Option<String>,
    /// The content of the table that the manifest names.
    named: u8,
    table: (u64, u8),
    marker: bool,
}

/// The next request of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextStep {
    Load,
    Snapshot,
    Claim,
    Write,
    Commit,
    Done,
}

/// A process that builds a table of some content.
#[derive(Debug)]
struct Process {
    content: u8,
    claim: DayClaim,
    step: NextStep,
    version: u64,
    building: Option<String>,
    named: u8,
    snapshot: (u64, u8),
}

impl Process {
    fn new(content: u8) -> Self {
        Self {
            content,
            claim: DayClaim::default(),
            step: NextStep::Load,
            version: 0,
            building: None,
            named: 0,
            snapshot: (0, 0),
        }
    }

    /// Sends the next request.
    fn advance(&mut self, store: &mut Model) {
        self.step = match self.step {
            NextStep::Load => {
                self.claim.begin_attempt();
                self.read(store);
                NextStep::Snapshot
            }
            NextStep::Snapshot => {
                self.snapshot = store.table;
                if self.claim.is_of_another(self.building.as_deref()) {
                    self.claim.oust_rival();
                    NextStep::Claim
                } else {
                    NextStep::Write
                }
            }
            NextStep::Claim => {
                let id = self.claim.new_id();
                if store.version != self.version {
                    return self.fail();
                }
                store.version += 1;
                store.building = Some(id.clone());
                store.marker = true;
                self.read(store);
                self.claim.committed(id);
                NextStep::Write
            }
            NextStep::Write if self.snapshot.1 == self.content => NextStep::Commit,
            NextStep::Write if !self.claim.may_publish(self.building.as_deref()) => NextStep::Claim,
            NextStep::Write => {
                if store.table.0 != self.snapshot.0 {
                    return self.fail();
                }
                store.table = (store.table.0 + 1, self.content);
                NextStep::Commit
            }
            NextStep::Commit if self.building.is_none() && self.named == self.content => {
                store.marker &= self.claim.keeps_marker(store.building.is_some());
                NextStep::Done
            }
            NextStep::Commit => {
                if store.version != self.version {
                    return self.fail();
                }
                store.version += 1;
                store.building = None;
                store.named = self.content;
                store.marker &= self.claim.keeps_marker(false);
                NextStep::Done
            }
            NextStep::Done => NextStep::Done,
        };
    }

    fn read(&mut self, store: &Model) {
        self.version = store.version;
        self.building.clone_from(&store.building);
        self.named = store.named;
    }

    fn fail(&mut self) {
        self.claim.meet_rival();
        self.step = NextStep::Load;
    }
}

proptest! {
    /// Whatever the interleaving, and even if a process stops anywhere for good.
    #[test]
    fn two_processes_never_both_may_publish_and_the_tables_are_those_of_the_manifest(
        contents in (0_u8..3, 0_u8..3),
        turns in proptest::collection::vec(any::<bool>(), 0..60),
    ) {
        let mut store = Model::default();
        let mut processes = [Process::new(contents.0), Process::new(contents.1)];
        for turn in turns {
            processes[usize::from(turn)].advance(&mut store);
            let stored = store.building.as_deref();
            let publishers = processes.iter().filter(|process| process.claim.may_publish(stored));
            prop_assert!(publishers.count() <= 1);
            prop_assert!(
                store.table.1 == store.named || store.building.is_some() || store.marker,
                "{store:?} {processes:?}"
            );
        }
    }

    #[test]
    fn a_process_that_goes_on_alone_finishes(
        contents in (0_u8..3, 0_u8..3),
        turns in proptest::collection::vec(any::<bool>(), 0..30),
    ) {
        let mut store = Model::default();
        let mut processes = [Process::new(contents.0), Process::new(contents.1)];
        for turn in turns {
            processes[usize::from(turn)].advance(&mut store);
        }
        for _ in 0..20 {
            processes[0].advance(&mut store);
        }
        prop_assert_eq!(processes[0].step, NextStep::Done);
    }
}

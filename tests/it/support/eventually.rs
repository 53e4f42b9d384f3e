//! Waits with a deadline. A test polls through [`eventually`] and never in a loop of its own, so that a condition that
//! never holds fails the test with a name instead of hanging it.

use std::time::Duration;

/// The deadline of [`eventually`].
const DEADLINE: Duration = Duration::from_secs(60);
/// The pause between two looks at the condition.
const POLL: Duration = Duration::from_millis(20);

/// Polls `condition` every 20 ms until it is true.
///
/// # Panics
/// After 60 s, with `what`.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(DEADLINE, what, condition).await;
}

/// Like [`eventually`], with another deadline.
///
/// # Panics
/// After `deadline`, with `what`.
pub async fn eventually_within(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(POLL).await;
        }
    };
    let in_time = tokio::time::timeout(deadline, polling).await.is_ok();
    assert!(in_time, "not within {} s: {what}", deadline.as_secs());
}

/// Polls `probe` every 20 ms until it returns a value, and returns the value.
///
/// # Panics
/// After 60 s, with `what`.
pub async fn eventually_some<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, async || {
        found = probe().await;
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_polled_until_it_holds() {
    let mut looks = 0;
    eventually("three looks", async || {
        looks += 1;
        looks == 3
    })
    .await;
    assert_eq!(looks, 3);
    assert_eq!(eventually_some("a value", async || Some(7)).await, 7);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "not within 60 s: pigs fly")]
async fn a_condition_that_never_holds_fails_with_its_name() {
    eventually("pigs fly", async || false).await;
}

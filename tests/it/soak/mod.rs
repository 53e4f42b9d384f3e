//! Endurance tests with minutes of work and gigabytes, which run only by `make soak`.

mod random;
mod recording;
mod servers;

/// The number of histories that `make soak` asks for; other runs skip these tests with a message.
fn asked() -> Option<u64> {
    let asked = crate::reliability::soak();
    if asked.is_none() {
        println!("left out: `make soak` runs it");
    }
    asked
}

//! Endurance of recordings: minutes of work and gigabytes, left out unless `make soak` asks.

mod random;
mod recording;
mod servers;

/// How many histories `make soak` asks for; other runs leave these tests out, and say so.
fn asked() -> Option<u64> {
    let asked = crate::reliability::soak();
    if asked.is_none() {
        println!("left out: `make soak` runs it");
    }
    asked
}

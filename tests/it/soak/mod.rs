//! Endurance: minutes of work and gigabytes, run by `make soak` alone, which sets [`ASKED`].

mod random;
mod recording;

/// Asks for the soak tests.
const ASKED: &str = "TELELAKE_SOAK";

/// Whether this is `make soak`; any other test run leaves these tests out, and says so.
fn is_asked() -> bool {
    let asked = std::env::var_os(ASKED).is_some();
    if !asked {
        println!("left out: `make soak` runs it");
    }
    asked
}

//! The report: a block a measurement, a line a figure, each with its goal where it has one.

use std::time::Duration;

/// Opens a block.
pub fn title(name: &str, what: &str) {
    println!("\n{name}: {what}");
}

/// A figure without a goal.
pub fn figure(name: &str, value: impl AsRef<str>) {
    println!("  {name:<26}{:>12}", value.as_ref());
}

/// A figure and the goal that it is held against.
pub fn against_goal(name: &str, value: impl AsRef<str>, goal: &str, met: bool) {
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {name:<26}{:>12}   goal {goal}: {verdict}", value.as_ref());
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

pub fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Decimal megabytes a second.
pub fn speed(bytes_per_second: f64) -> String {
    format!("{:.0} MB/s", bytes_per_second / 1e6)
}

pub fn per_second(amount: u64, time: Duration) -> f64 {
    amount as f64 / time.as_secs_f64()
}

//! The printed report: a block for each measurement, a line for each figure, with its goal if it has one.

use std::time::Duration;

/// Prints the title of a block.
pub fn title(name: &str, what: &str) {
    println!("\n{name}: {what}");
}

/// Prints a figure without a goal.
pub fn figure(name: &str, value: impl AsRef<str>) {
    println!("  {name:<26}{:>12}", value.as_ref());
}

/// Prints a figure and its goal.
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

/// Formats a speed in decimal megabytes per second.
pub fn speed(bytes_per_second: f64) -> String {
    format!("{:.0} MB/s", bytes_per_second / 1e6)
}

pub fn per_second(amount: u64, time: Duration) -> f64 {
    amount as f64 / time.as_secs_f64()
}

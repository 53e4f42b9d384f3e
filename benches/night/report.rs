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

/// The figures of telelake and of a baseline, side by side.
pub struct Sides {
    requests: (u32, u32),
    wall: (Duration, Duration),
    cpu: (Duration, Duration),
    peak: (u64, u64),
    most_wall: Option<f64>,
    most_cpu: Option<f64>,
}

impl Sides {
    pub fn new(
        requests: (u32, u32),
        wall: (Duration, Duration),
        cpu: (Duration, Duration),
        peak: (u64, u64),
    ) -> Self {
        Self {
            requests,
            wall,
            cpu,
            peak,
            most_wall: None,
            most_cpu: None,
        }
    }

    /// Sets the goals of the ratios.
    pub fn goals(self, wall: f64, cpu: f64) -> Self {
        Self {
            most_wall: Some(wall),
            most_cpu: Some(cpu),
            ..self
        }
    }

    pub fn print(&self) {
        println!("  {:<26}{:>12}{:>12}{:>8}", "", "telelake", "script", "ratio");
        let line = |name: &str, (ours, theirs): (String, String), share: f64, goal: Option<f64>| {
            let verdict = goal.map(|goal| {
                let verdict = if share <= goal { "met" } else { "MISSED" };
                format!("   goal ≤ {goal}: {verdict}")
            });
            println!(
                "  {name:<26}{ours:>12}{theirs:>12}{share:>8.2}{}",
                verdict.unwrap_or_default()
            );
        };
        let times = |(ours, theirs): (Duration, Duration)| {
            let share = ours.as_secs_f64() / theirs.as_secs_f64();
            ((seconds(ours), seconds(theirs)), share)
        };
        let (requests, peak) = (self.requests, self.peak);
        let share = f64::from(requests.0) / f64::from(requests.1);
        line(
            "requests",
            (requests.0.to_string(), requests.1.to_string()),
            share,
            None,
        );
        let (shown, share) = times(self.wall);
        line("wall", shown, share, self.most_wall);
        let (shown, share) = times(self.cpu);
        line("CPU", shown, share, self.most_cpu);
        let share = peak.0 as f64 / peak.1 as f64;
        line("peak memory", (mebibytes(peak.0), mebibytes(peak.1)), share, None);
    }
}

//! The cost of a nightly run: the walk, a large recording, many calls, the same days again, and building. Each figure stands
//! beside its goal or beside what the machine does without the program, so that it means something on any machine.
//!
//! `make bench` runs it, and `cargo bench --bench night -- walk` one part of it. A missed goal is printed and is no failure; what does not run is one.

#![allow(clippy::unwrap_used)]

mod baseline;
mod build;
mod calls;
mod child;
mod lessons;
mod night;
mod page;
mod proxy;
mod recording;
mod report;
mod s3;
mod school;
mod shards;
mod walk;
mod webhooks;

// The tools of the tests, of which the benches use only some.
#[allow(dead_code)]
#[path = "../../tests/it/support/mod.rs"]
mod support;

/// The measurements by name.
const PARTS: &[&str] = &[
    "night",
    "rooms",
    "lessons",
    "s3",
    "walk",
    "recording",
    "calls",
    "build",
    "rebuild",
    "webhooks",
    "page",
    "shards",
];

// Several threads, so that the simulator and the S3 baseline in this process do not limit the measurements.
#[tokio::main]
async fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("telelake bench: release build, {cores} cores, simulator on the same machine");
    // Cargo adds options for other harnesses.
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for name in &asked {
        assert!(PARTS.contains(&name.as_str()), "{name} is none of {PARTS:?}");
    }
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    if wanted("night") {
        night::measure().await;
    }
    if wanted("rooms") {
        night::measure_rooms().await;
    }
    if wanted("lessons") {
        lessons::measure().await;
    }
    if wanted("s3") {
        s3::measure().await;
    }
    if wanted("walk") {
        walk::measure().await;
    }
    if wanted("recording") {
        recording::measure().await;
    }
    if wanted("calls") {
        calls::measure().await;
    }
    if wanted("build") {
        build::measure();
    }
    if wanted("rebuild") {
        build::measure_rebuild().await;
    }
    if wanted("webhooks") {
        webhooks::measure().await;
    }
    if wanted("page") {
        page::measure().await;
    }
    if wanted("shards") {
        shards::measure().await;
    }
}

//! Output for people and machines: logs and progress on stderr, JSON on stdout.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::LogFormat;
use crate::pipeline::Progress;
use crate::runlog::RunLogs;
use crate::sanitize::{escaped_but, escaped_json, escaped_lines};
use crate::{Error, ErrorKind, Result};

/// The interval between two drawings of the bars.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// The interval between two log lines about progress, if there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Stderr with logs and progress bars, where a log line never breaks a bar.
pub(crate) struct Terminal {
    bars: MultiProgress,
    quiet: bool,
}

impl Terminal {
    /// Sets up logs for the whole process.
    pub fn install(format: LogFormat, verbose: u8, quiet: bool) -> Arc<Self> {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let level = match (quiet, verbose) {
            (true, _) => LevelFilter::WARN,
            (false, 0) => LevelFilter::INFO,
            (false, 1) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        };
        // Only our own logs, because those of dependencies may hold signed URLs and headers.
        let filter = Targets::new()
            .with_target("telelake", level)
            // The audit log is written at every verbosity.
            .with_target("telelake::audit", level.max(LevelFilter::INFO));
        let has_colours = format == LogFormat::Text && std::io::stderr().is_terminal();
        let writer = Stderr {
            bars: bars.clone(),
            format,
            has_colours,
        };
        let layer = match format {
            LogFormat::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(writer)
                .boxed(),
            LogFormat::Text => fmt::layer()
                .with_target(false)
                .with_ansi(has_colours)
                .with_writer(writer)
                .boxed(),
        };
        // This fails only if a subscriber is set already, as in a test that calls it twice.
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .with(RunLogs.with_filter(Targets::new().with_target("telelake", LevelFilter::INFO)))
            .try_init();
        Arc::new(Self { bars, quiet })
    }
}

/// Writes log lines above the bars, and escapes control sequences, because a line may quote foreign text.
#[derive(Clone)]
struct Stderr {
    bars: MultiProgress,
    format: LogFormat,
    has_colours: bool,
}

impl Stderr {
    fn escape<'l>(&self, line: &'l str) -> Cow<'l, str> {
        match self.format {
            LogFormat::Json => escaped_json(line),
            // The escape character stays, because the colours need it; foreign text in the line is escaped already.
            LogFormat::Text if self.has_colours => escaped_but(line, &['\n', '\t', '\u{1b}']),
            LogFormat::Text => escaped_lines(line),
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let escaped = self.escape(&text);
        self.bars
            .suspend(|| std::io::stderr().write_all(escaped.as_bytes()))
            .map(|()| line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Shows the counters of a run: as progress bars on a terminal, as log lines elsewhere.
pub(crate) struct ProgressDisplay {
    progress: Arc<Progress>,
    drawing: tokio::task::JoinHandle<()>,
    bars: Option<MultiProgress>,
}

impl ProgressDisplay {
    /// Starts to show the counters.
    pub fn start(terminal: &Terminal) -> Self {
        let progress = Arc::new(Progress::default());
        let counters = Arc::clone(&progress);
        let interactive = std::io::stderr().is_terminal() && !terminal.quiet;
        let bars = interactive.then(|| terminal.bars.clone());
        let drawing = match bars.clone() {
            Some(bars) => tokio::spawn(async move { draw(&bars, &counters).await }),
            None => tokio::spawn(async move { log(&counters).await }),
        };
        Self {
            progress,
            drawing,
            bars,
        }
    }

    /// The counters that the run moves.
    pub fn counters(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Stops, and clears the bars from the terminal.
    pub fn end(self) {
        self.drawing.abort();
        if let Some(bars) = self.bars {
            let _ = bars.clear();
        }
    }
}

async fn draw(all: &MultiProgress, progress: &Progress) {
    let bar = |name: &'static str, template: &str| {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = all.add(ProgressBar::new(0).with_style(style.progress_chars("=> ")));
        bar.set_prefix(name);
        bar
    };
    const COUNT: &str = "{prefix:>11} [{bar:30}] {pos}/{len}  {elapsed}";
    const BYTES: &str =
        "{prefix:>11} [{bar:30}] {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}";
    let bars = [
        (bar("rooms×dates", COUNT), &progress.listings),
        (bar("days", COUNT), &progress.days),
        (bar("reports", COUNT), &progress.reports),
        (bar("recordings", COUNT), &progress.recordings),
        (bar("bytes", BYTES), &progress.recorded_bytes),
    ];
    loop {
        for (bar, meter) in &bars {
            let (done, goal) = meter.get();
            bar.set_length(goal.max(done));
            bar.set_position(done);
        }
        tokio::time::sleep(DRAW_INTERVAL).await;
    }
}

async fn log(progress: &Progress) {
    loop {
        tokio::time::sleep(LOG_INTERVAL).await;
        let of = |meter: &crate::pipeline::Meter| {
            let (done, goal) = meter.get();
            format!("{done}/{goal}")
        };
        tracing::info!(
            listings = of(&progress.listings),
            days = of(&progress.days),
            reports = of(&progress.reports),
            recordings = of(&progress.recordings),
            recorded_bytes = of(&progress.recorded_bytes),
            "in progress"
        );
    }
}

/// Prints a value as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let line =
        serde_json::to_string(value).map_err(|e| Error::new(ErrorKind::Internal, "stdout", e.to_string()))?;
    super::print(&format!("{}\n", escaped_json(&line)))
}

/// Formats rows as columns that are as wide as their widest cell.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

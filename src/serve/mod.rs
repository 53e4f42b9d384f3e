//! The daemon: runs by the clock ([`schedule`], `clock`), looks at rooms that webhooks name ([`webhook`], `events`), relays
//! lesson data (`relay`), and tells how it is (`health`, `http`, `api`, `page`). `cli serve` calls [`run`] and [`run_once`].
//!
//! Nothing that was answered with 2xx is lost: it lies in the store before the answer, and is removed after its work.
//! No other state is needed, so a daemon may be killed at any time and started anywhere.

mod api;
mod audit;
mod clock;
mod daemon;
mod events;
mod health;
mod http;
#[cfg(test)]
mod idle_tests;
mod jobs;
mod journal;
mod live;
mod notifications;
mod pace;
mod page;
mod queue;
mod relay;
pub mod webhook;
mod workers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use self::daemon::{Daemon, Writers};
use self::live::Hangups;
use crate::config::{Config, Source};
use crate::metrics::METRICS;
use crate::{ExitStatus, Result};

/// What work in hand gets when the daemon is asked to stop.
const GRACE: Duration = Duration::from_millis(5500);
/// How often events are looked for that another process left behind.
const LOOK_AROUND: Duration = Duration::from_secs(600);

/// Runs the daemon until it is stopped: `Done` when it was idle, `Partial` when work is left for the next start.
///
/// # Errors
/// `Config`, before anything is asked for; of the store, where it is out of reach.
pub async fn run(config: Config, source: Source, cancel: &CancellationToken) -> Result<ExitStatus> {
    let hangups = Hangups::listen();
    let address = config.require_listen()?;
    for weakness in config.weaknesses() {
        tracing::warn!("{weakness}");
    }
    let listener = http::bind(address).await?;
    let (daemon, writers) = Daemon::open(config, source, cancel).await?;
    if daemon.secrets.are_none() {
        tracing::warn!("no webhook secret is configured: every webhook will be refused");
    }
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    if clock::missed(&daemon).await? {
        tracing::info!("the last scheduled run was missed: it is made up now");
        daemon.queue.push_scheduled(Utc::now());
    }
    let tasks = start(&daemon, hangups);
    tell_supervisor();
    http::serve(&daemon, listener).await;
    stop(&daemon, writers, tasks).await;
    if daemon.broken.load(Ordering::Relaxed) {
        return Ok(ExitStatus::Unexpected);
    }
    let left = work_is_left(&daemon);
    if left {
        tracing::warn!("work is left: it is kept, and the next start goes on with it");
    }
    Ok(if left {
        ExitStatus::Partial
    } else {
        ExitStatus::Done
    })
}

/// Tells systemd, where it has started this and waits for it (`Type=notify`), that the daemon is at work.
fn tell_supervisor() {
    #[cfg(unix)]
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be told that the daemon is at work");
    }
}

/// Does what is due now, a missed run and kept events among it, and ends.
///
/// # Errors
/// As [`run`].
pub async fn run_once(config: Config, source: Source, cancel: &CancellationToken) -> Result<ExitStatus> {
    let hangups = Hangups::listen();
    config.require_listen()?;
    let (daemon, writers) = Daemon::open(config, source, cancel).await?;
    if clock::missed(&daemon).await? {
        daemon.queue.push_scheduled(Utc::now());
    }
    let part = Part(Arc::clone(&daemon));
    let reloading = tokio::spawn(async move { live::run(&part, hangups).await });
    let mut worst = ExitStatus::Done;
    if let Err(error) = relay::import_all(&daemon).await {
        tracing::warn!(%error, "received meta could not be taken in; it is kept");
        worst = ExitStatus::Partial;
    }
    while !cancel.is_cancelled()
        && let Some((work, stop)) = daemon.queue.pop(cancel)
    {
        let status = workers::do_work(&daemon, work, &stop).await;
        if status as u8 > worst as u8 {
            worst = status;
        }
    }
    let paused = daemon.queue.paused();
    let due = match &paused {
        Some(paused) => {
            tracing::warn!(since = %paused.since, by = %paused.by, "the queue is paused: nothing begins");
            Vec::new()
        }
        None => daemon.events.take_due(Utc::now()),
    };
    if paused.is_some() && work_is_left(&daemon) {
        worst = ExitStatus::Partial;
    }
    if !due.is_empty() && !workers::look_in(&daemon, due).await && worst == ExitStatus::Done {
        worst = ExitStatus::Partial;
    }
    if !relay::pass_all(&daemon).await && worst == ExitStatus::Done {
        worst = ExitStatus::Partial;
    }
    reloading.abort();
    stop(&daemon, writers, Vec::new()).await;
    Ok(worst)
}

/// Ends the daemon when one of its parts breaks off: one that only seems to run is worse than one that is started again.
struct Part(Arc<Daemon>);

impl std::ops::Deref for Part {
    type Target = Arc<Daemon>;

    fn deref(&self) -> &Arc<Daemon> {
        &self.0
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a part of the daemon broke off: it ends, to be started again");
            self.0.broken.store(true, Ordering::Relaxed);
            self.0.cancel.cancel();
        }
    }
}

/// Starts all that goes on beside the listener.
fn start(daemon: &Arc<Daemon>, hangups: Hangups) -> Vec<tokio::task::JoinHandle<()>> {
    let of = || Part(Arc::clone(daemon));
    let (main, events, clock, imports, passing, health, around) = (of(), of(), of(), of(), of(), of(), of());
    let (page, live) = (of(), of());
    vec![
        on_a_thread(async move || workers::run_main(&main).await),
        on_a_thread(async move || workers::run_events(&events).await),
        tokio::spawn(async move { clock::run(&clock).await }),
        tokio::spawn(async move { relay::run_imports(&imports).await }),
        tokio::spawn(async move { relay::run_passing(&passing).await }),
        tokio::spawn(async move { health::watch(&health).await }),
        tokio::spawn(async move { look_around(&around).await }),
        tokio::spawn(async move { page::warm(&page).await }),
        tokio::spawn(async move { live::run(&live, hangups).await }),
    ]
}

/// A lane has a thread of its own: sorting a long listing holds up neither the other lane nor an answer.
fn on_a_thread(lane: impl AsyncFnOnce() + Send + 'static) -> tokio::task::JoinHandle<()> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(lane()))
}

/// Finds what another process of the same lake has taken and left.
async fn look_around(daemon: &Daemon) {
    loop {
        METRICS.turned("look_around");
        tokio::select! {
            () = daemon.cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
        }
        if let Err(error) = daemon.events.load(&*daemon.store, false, Utc::now()).await {
            tracing::debug!(%error, "kept events could not be listed");
        }
        daemon.measure_pending(LOOK_AROUND / 2).await;
    }
}

/// Writes what callers have brought, and lets work in hand end.
async fn stop(daemon: &Daemon, writers: Writers, tasks: Vec<tokio::task::JoinHandle<()>>) {
    daemon.events.close();
    daemon.relay.close();
    let all = async {
        for writer in writers {
            let _ = writer.await;
        }
        for task in tasks {
            let _ = task.await;
        }
        // What came last goes into the lake with the rest, where there is time for it.
        if let Err(error) = relay::import_all(daemon).await {
            tracing::debug!(%error, "received meta is kept for the next start");
        }
    };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("work in hand did not end in time; the next start goes on with it");
    }
}

fn work_is_left(daemon: &Daemon) -> bool {
    !daemon.queue.waiting().is_empty()
        || !daemon.running().is_empty()
        || daemon.relay.has_work()
        || daemon.events.next_due().is_some_and(|due| due <= Utc::now())
}

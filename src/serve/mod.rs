//! The daemon: it starts the scheduled runs (`clock`), exports the rooms that webhooks name ([`webhook`], `events`), relays
//! lesson data (`relay`), and serves the API, the page, health and metrics (`http`, `api`, `page`, `health`). `cli serve`
//! calls [`run`] and [`run_once`].
//!
//! Whatever the daemon has answered with 2xx survives a crash, because it is in the store before the answer is sent and is
//! removed only after its work is done. The daemon keeps no other state, so it can be killed at any time and started on
//! another machine.

mod api;
mod audit;
mod clock;
mod daemon;
mod events;
mod health;
mod http;
mod jobs;
mod journal;
mod live;
mod notifications;
mod pace;
mod page;
mod pending;
mod queue;
mod relay;
mod running;
#[cfg(test)]
mod tests;
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

/// The time that work in progress gets to end after the daemon is asked to stop.
const GRACE: Duration = Duration::from_millis(5500);
/// The pause between two searches for events that another process left behind.
const LOOK_AROUND: Duration = Duration::from_secs(600);

/// Runs the daemon until it is stopped. Returns `Done` if it was idle, `Partial` if work is left for the next start.
///
/// # Errors
/// `Config`, before the first request; any error of the store if it is out of reach.
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
    if daemon.clock.has_missed().await? {
        tracing::info!("the last scheduled run was missed; it starts now");
        daemon.queue.push_scheduled(Utc::now());
    }
    let tasks = start(&daemon, hangups);
    tell_supervisor();
    let trusted = &daemon.config.serve.trusted_proxies;
    http::serve(daemon.router(), listener, trusted, cancel).await;
    stop(&daemon, writers, tasks).await;
    if daemon.broken.load(Ordering::Relaxed) {
        return Ok(ExitStatus::Unexpected);
    }
    let left = work_is_left(&daemon);
    if left {
        tracing::warn!("some work is not done; it is in the store, and the next start continues it");
    }
    Ok(if left {
        ExitStatus::Partial
    } else {
        ExitStatus::Done
    })
}

/// Tells systemd that the daemon is ready, if systemd started it and waits for that (`Type=notify`).
fn tell_supervisor() {
    #[cfg(unix)]
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be told that the daemon is ready");
    }
}

/// Does everything that is due now, including a missed run and events kept in the store, and returns.
///
/// # Errors
/// As [`run`].
pub async fn run_once(config: Config, source: Source, cancel: &CancellationToken) -> Result<ExitStatus> {
    let hangups = Hangups::listen();
    config.require_listen()?;
    let (daemon, writers) = Daemon::open(config, source, cancel).await?;
    if daemon.clock.has_missed().await? {
        daemon.queue.push_scheduled(Utc::now());
    }
    let part = DaemonTask(Arc::clone(&daemon));
    let reloading = tokio::spawn(async move { part.live.run(hangups, &part.cancel).await });
    let mut worst = ExitStatus::Done;
    if let Err(error) = daemon.relay.import_all().await {
        tracing::warn!(%error, "received lesson data could not be imported; it stays in the store");
        worst = ExitStatus::Partial;
    }
    while !cancel.is_cancelled()
        && let Some((work, stop)) = daemon.queue.pop(cancel)
    {
        let status = workers::do_work(&daemon.workers, work, &stop).await;
        if status as u8 > worst as u8 {
            worst = status;
        }
    }
    let paused = daemon.queue.paused();
    let due = match &paused {
        Some(paused) => {
            tracing::warn!(since = %paused.since, by = %paused.by, "the queue is paused; no job starts");
            Vec::new()
        }
        None => daemon.events.take_due(Utc::now()),
    };
    if paused.is_some() && work_is_left(&daemon) {
        worst = ExitStatus::Partial;
    }
    if !due.is_empty() && !workers::look_in(&daemon.workers, due).await && worst == ExitStatus::Done {
        worst = ExitStatus::Partial;
    }
    if !daemon.relay.pass_all().await && worst == ExitStatus::Done {
        worst = ExitStatus::Partial;
    }
    reloading.abort();
    stop(&daemon, writers, Vec::new()).await;
    Ok(worst)
}

/// A task's hold on the daemon. If the task panics, the whole daemon stops, because a supervisor restarts a daemon that
/// ended but not one that only seems to run.
struct DaemonTask(Arc<Daemon>);

impl std::ops::Deref for DaemonTask {
    type Target = Arc<Daemon>;

    fn deref(&self) -> &Arc<Daemon> {
        &self.0
    }
}

impl Drop for DaemonTask {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a task of the daemon panicked; the daemon stops, so that its supervisor restarts it");
            self.0.broken.store(true, Ordering::Relaxed);
            self.0.cancel.cancel();
        }
    }
}

/// Starts the tasks that run beside the listener.
fn start(daemon: &Arc<Daemon>, hangups: Hangups) -> Vec<tokio::task::JoinHandle<()>> {
    let of = || DaemonTask(Arc::clone(daemon));
    let (main, events, clock, imports, passing, health, around) = (of(), of(), of(), of(), of(), of(), of());
    let (page, live) = (of(), of());
    vec![
        on_a_thread(async move || workers::run_main(&main.workers).await),
        on_a_thread(async move || workers::run_events(&events.workers).await),
        tokio::spawn(async move { clock::run(&clock.clock).await }),
        tokio::spawn(async move { imports.relay.run_imports().await }),
        tokio::spawn(async move { passing.relay.run_passing().await }),
        tokio::spawn(async move { health.health.watch(&health.live, &health.cancel).await }),
        tokio::spawn(async move { look_around(&around).await }),
        tokio::spawn(async move { page::warm(&page.page, &page.cancel).await }),
        tokio::spawn(async move { live.live.run(hangups, &live.cancel).await }),
    ]
}

/// Runs a lane on a thread of its own, so that sorting a long listing delays neither the other lane nor an answer.
fn on_a_thread(lane: impl AsyncFnOnce() + Send + 'static) -> tokio::task::JoinHandle<()> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(lane()))
}

/// Regularly looks for events that another process of the same lake accepted and abandoned.
async fn look_around(daemon: &Daemon) {
    loop {
        METRICS.turned("look_around");
        let pause = tokio::time::sleep(LOOK_AROUND);
        if daemon.cancel.run_until_cancelled(pause).await.is_none() {
            return;
        }
        if let Err(error) = daemon.events.load(&*daemon.store, false, Utc::now()).await {
            tracing::debug!(%error, "the events in the store could not be listed");
        }
        daemon.pending.measure(LOOK_AROUND / 2).await;
    }
}

/// Writes what callers have sent, and lets the work in progress end.
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
        // The last lesson data goes into the lake too if there is time for it.
        if let Err(error) = daemon.relay.import_all().await {
            tracing::debug!(%error, "received lesson data stays in the store for the next start");
        }
    };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("the work in progress did not end in time; the next start continues it");
    }
}

fn work_is_left(daemon: &Daemon) -> bool {
    !daemon.queue.waiting().is_empty()
        || !daemon.running.all().is_empty()
        || daemon.relay.has_work()
        || daemon.events.next_due().is_some_and(|due| due <= Utc::now())
}

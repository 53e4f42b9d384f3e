//! The daemon's parts, opened and wired together. Only `mod` imports this; every other module gets the parts it needs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use chrono::Utc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api::{self, ApiState};
use super::clock::Clock;
use super::events::Events;
use super::health::{self, Health};
use super::http::guard::{Group, Guard};
use super::http::session::Access;
use super::http::{self, reply};
use super::jobs::Jobs;
use super::live::Live;
use super::notifications::{self, Notifications};
use super::page::{self, PageState};
use super::pending::PendingItems;
use super::queue::Queue;
use super::relay::{self, Relay};
use super::running::RunningJobs;
use super::webhook::secrets::Secrets;
use super::webhook::{self, WebhookState};
use super::workers::Workers;
use crate::api::Client;
use crate::config::{Config, Source};
use crate::dates;
use crate::metrics::METRICS;
use crate::notify::{Notifier, last_deliveries};
use crate::status::Coverage;
use crate::store::{self, Metered, Store};
use crate::Result;

/// See the module.
pub(super) struct Daemon {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub cancel: CancellationToken,
    pub queue: Arc<Queue>,
    pub events: Arc<Events>,
    pub relay: Arc<Relay>,
    pub secrets: Arc<Secrets>,
    pub live: Live,
    pub health: Arc<Health>,
    pub running: Arc<RunningJobs>,
    pub pending: Arc<PendingItems>,
    pub clock: Clock,
    pub workers: Workers,
    pub page: PageState,
    /// True if a task of the daemon panicked.
    pub broken: AtomicBool,
    access: Arc<Access>,
    webhooks: WebhookState,
}

/// The tasks that write what callers send; each ends when everything is written.
pub(super) type Writers = [JoinHandle<()>; 2];

impl Daemon {
    /// Opens all parts, and loads what earlier processes kept in the store.
    ///
    /// # Errors
    /// `Config`, `SecretUnreadable`; any error of the store if it is out of reach.
    pub async fn open(
        config: Config,
        source: Source,
        cancel: &CancellationToken,
    ) -> Result<(Arc<Self>, Writers)> {
        config.require_token()?;
        let access = Arc::new(Access::new(config.serve.read_token()?));
        crate::pipeline::mapping(&config)?;
        let notifier = Arc::new(Notifier::new(&config.notify)?);
        let client = Client::new(&config.api, cancel.clone())?;
        let store: Arc<dyn Store> = Metered::around(store::open(&config.store).await?);
        store.preflight().await?;
        if let Some(info) = crate::pipeline::read_store_info(&*store).await? {
            info.check_zone(config.timezone)?;
        }
        let config = Arc::new(config);
        let secrets = Arc::new(Secrets::new(config.webhook.clone()));
        let (events, events_written) = Events::start(Arc::clone(&store), config.scope.clone());
        let (relay, relay_written) =
            Relay::start(&config, Arc::clone(&store), client.clone(), cancel.clone());
        let (events, relay) = (Arc::new(events), Arc::new(relay));
        let (queue, running) = (Arc::new(Queue::default()), Arc::new(RunningJobs::default()));
        let health = Arc::new(Health::new(Arc::clone(&store), client.clone()));
        let pending = Arc::new(PendingItems::new(Arc::clone(&store), config.timezone));
        let webhooks = WebhookState::new(Arc::clone(&secrets), Arc::clone(&events));
        let notifications = Notifications::new(Arc::clone(&notifier), Arc::clone(&store), cancel.clone());
        let jobs = Jobs {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            queue: Arc::clone(&queue),
            events: Arc::clone(&events),
            running: Arc::clone(&running),
        };
        let page = PageState {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            coverage: Arc::new(Coverage::default()),
            memory: Arc::default(),
            access: Arc::clone(&access),
            jobs,
            health: Arc::clone(&health),
            notifications,
            webhooks: Arc::clone(&webhooks.stats),
        };
        let workers = Workers {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            client: client.clone(),
            cancel: cancel.clone(),
            queue: Arc::clone(&queue),
            events: Arc::clone(&events),
            health: Arc::clone(&health),
            notifier: Arc::clone(&notifier),
            running: Arc::clone(&running),
            pending: Arc::clone(&pending),
            single_lane: tokio::sync::Mutex::default(),
        };
        let live = Live::new(
            source,
            Arc::clone(&config),
            client,
            Arc::clone(&access),
            Arc::clone(&secrets),
            notifier,
        );
        let clock = Clock {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            queue: Arc::clone(&queue),
            cancel: cancel.clone(),
        };
        let daemon = Arc::new(Self {
            config,
            store,
            cancel: cancel.clone(),
            queue,
            events,
            relay,
            secrets,
            live,
            health,
            running,
            pending,
            clock,
            workers,
            page,
            broken: AtomicBool::new(false),
            access,
            webhooks,
        });
        daemon.load().await?;
        Ok((daemon, [events_written, relay_written]))
    }

    /// Loads what earlier processes kept in the store.
    async fn load(&self) -> Result<()> {
        let (store, now) = (&*self.store, Utc::now());
        #[allow(clippy::cast_precision_loss)]
        METRICS.started.set(now.timestamp() as f64);
        self.health.remember(store, now).await?;
        // Deliveries that can't be read are no reason not to start.
        let deliveries = last_deliveries(store).await.unwrap_or_default();
        self.workers.notifier.remember(deliveries);
        self.events.load(store, true, now).await?;
        self.queue.load(store, dates::today(self.config.timezone)).await?;
        self.relay.load().await?;
        self.pending.measure(Duration::ZERO).await;
        Ok(())
    }

    /// All routes, each group behind the guard.
    pub fn router(&self) -> Router {
        let guard = &Guard::new(Arc::clone(&self.access));
        let api = ApiState {
            config: Arc::clone(&self.config),
            store: Arc::clone(&self.store),
            coverage: Arc::clone(&self.page.coverage),
            jobs: self.page.jobs.clone(),
        };
        let unknown = Router::new().fallback(async || {
            reply::error(StatusCode::NOT_FOUND, "there is nothing here")
        });
        guard
            .protect(Group::Private, unknown)
            .merge(health::routes(Arc::clone(&self.health), guard))
            .merge(webhook::routes(self.webhooks.clone(), guard))
            .merge(relay::routes(Arc::clone(&self.relay), guard))
            .merge(api::routes(api, guard))
            .merge(notifications::routes(self.page.notifications.clone(), guard))
            .merge(page::routes(self.page.clone(), guard))
            .layer(axum::middleware::from_fn(http::count))
    }
}

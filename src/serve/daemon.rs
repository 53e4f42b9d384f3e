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
use super::clock::RunClock;
use super::events::Events;
use super::health::{self, Health};
use super::http::guard::{RouteGroup, RouteGuard};
use super::http::session::Access;
use super::http::{self, reply};
use super::jobs::Jobs;
use super::live::Live;
use super::notifications::{self, Notifications};
use super::page::{self, PageState};
use super::relay::{self, Relay};
use super::webhook::secrets::Secrets;
use super::webhook::{self, WebhookState};
use super::workers::Workers;
use crate::Result;
use crate::api::Client;
use crate::config::{Config, Source};
use crate::dates;
use crate::metrics::METRICS;
use crate::notify::{Notifier, last_deliveries};
use crate::store::{self, Metered, Store};
use crate::tables::PrivacyPolicy;

/// See the module.
pub(super) struct Daemon {
    pub jobs: Jobs,
    pub relay: Arc<Relay>,
    pub secrets: Arc<Secrets>,
    pub live: Live,
    pub health: Arc<Health>,
    pub clock: RunClock,
    pub workers: Workers,
    pub page: PageState,
    pub cancel: CancellationToken,
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
        mut config: Config,
        source: Source,
        cancel: &CancellationToken,
    ) -> Result<(Arc<Self>, Writers)> {
        config.require_token()?;
        let access = Arc::new(Access::new(config.serve.read_token()?));
        let privacy = crate::pipeline::mapping_to_build(&config)?.privacy().clone();
        if privacy.makes_pseudonyms() {
            config.privacy.hold_key()?;
        }
        let notifier = Arc::new(Notifier::new(&config.notify)?);
        let client = Client::new(&config.api, cancel.clone())?;
        let store: Arc<dyn Store> = Metered::around(store::open(&config.store).await?);
        if let Some(info) = crate::pipeline::read_store_info(&*store).await? {
            info.check_zone(config.timezone)?;
            info.check_key(&privacy)?;
        }
        store.preflight().await?;
        let config = Arc::new(config);
        let secrets = Arc::new(Secrets::new(config.webhook.clone()));
        let live = Live::new(
            source,
            Arc::clone(&config),
            client.clone(),
            Arc::clone(&access),
            Arc::clone(&secrets),
            Arc::clone(&notifier),
        );
        let (daemon, writers) = Self::wire(
            config, privacy, store, client, cancel, access, secrets, notifier, live,
        );
        daemon.load().await?;
        Ok((Arc::new(daemon), writers))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts that the others are wired from"
    )]
    fn wire(
        config: Arc<Config>,
        privacy: PrivacyPolicy,
        store: Arc<dyn Store>,
        client: Client,
        cancel: &CancellationToken,
        access: Arc<Access>,
        secrets: Arc<Secrets>,
        notifier: Arc<Notifier>,
        live: Live,
    ) -> (Self, Writers) {
        let (events, events_written) = Events::start(Arc::clone(&store), config.scope.clone());
        let (relay, relay_written) = Relay::start(
            &config,
            privacy,
            Arc::clone(&store),
            client.clone(),
            cancel.clone(),
        );
        let jobs = Jobs {
            config,
            store: Arc::clone(&store),
            queue: Arc::default(),
            events: Arc::new(events),
            running: Arc::default(),
        };
        let health = Arc::new(Health::new(Arc::clone(&store), client.clone()));
        let webhooks = WebhookState::new(Arc::clone(&secrets), Arc::clone(&jobs.events));
        let page = PageState {
            config: Arc::clone(&jobs.config),
            store: Arc::clone(&store),
            coverage: Arc::default(),
            memory: Arc::default(),
            access: Arc::clone(&access),
            jobs: jobs.clone(),
            health: Arc::clone(&health),
            notifications: Notifications::new(Arc::clone(&notifier), store, cancel.clone()),
            webhooks: Arc::clone(&webhooks.stats),
        };
        let daemon = Self {
            clock: RunClock::new(&jobs, cancel.clone()),
            workers: Workers::new(&jobs, client, cancel.clone(), Arc::clone(&health), notifier),
            relay: Arc::new(relay),
            jobs,
            cancel: cancel.clone(),
            secrets,
            live,
            health,
            page,
            broken: AtomicBool::new(false),
            access,
            webhooks,
        };
        (daemon, [events_written, relay_written])
    }

    /// Loads what earlier processes kept in the store.
    async fn load(&self) -> Result<()> {
        let (store, now) = (&*self.jobs.store, Utc::now());
        #[expect(clippy::cast_precision_loss, reason = "seconds of a date are far below 2^52")]
        METRICS.started.set(now.timestamp() as f64);
        self.health.remember(store, now).await?;
        // Deliveries that can't be read are no reason not to start.
        let deliveries = last_deliveries(store).await.unwrap_or_default();
        self.workers.notifier.remember(deliveries);
        self.jobs.events.load(store, true, now).await?;
        let today = dates::today(self.jobs.config.timezone);
        self.jobs.queue.load(store, today).await?;
        self.relay.load().await?;
        self.workers.pending.measure(Duration::ZERO).await;
        Ok(())
    }

    /// All routes, each group behind the guard.
    pub fn router(&self) -> Router {
        let guard = &RouteGuard::new(Arc::clone(&self.access));
        let api = ApiState {
            config: Arc::clone(&self.jobs.config),
            store: Arc::clone(&self.jobs.store),
            coverage: Arc::clone(&self.page.coverage),
            jobs: self.jobs.clone(),
        };
        let unknown =
            Router::new().fallback(async || reply::error(StatusCode::NOT_FOUND, "there is nothing here"));
        guard
            .protect(RouteGroup::Private, unknown)
            .merge(health::routes(Arc::clone(&self.health), guard))
            .merge(webhook::routes(self.webhooks.clone(), guard))
            .merge(relay::routes(Arc::clone(&self.relay), guard))
            .merge(api::routes(api, guard))
            .merge(notifications::routes(self.page.notifications.clone(), guard))
            .merge(page::routes(self.page.clone(), guard))
            .layer(axum::middleware::from_fn(http::count))
    }
}

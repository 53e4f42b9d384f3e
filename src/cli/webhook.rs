//! `webhook`: manages the webhook and the secret of each space in scope.

use clap::Subcommand;
use serde_json::json;

use super::{CommandContext, LogFormat, output};
use crate::api::{Client, Webhook};
use crate::config::{self, Config, Secret};
use crate::ids::SpaceId;
use crate::serve::webhook::secrets::{self, SecretLocation};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Manage the webhooks of the spaces, which report finished calls and recordings
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Only this space; can be repeated [default: all spaces in scope]
    #[arg(long, global = true, value_name = "ID")]
    space: Vec<String>,
    /// Print secrets
    #[arg(long, global = true)]
    print_secret: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send events to a URL, and store the secret in `webhook.secrets_dir`
    Install {
        /// The public address of `telelake serve`, with the path /webhooks/teleboss
        #[arg(long, value_name = "URL")]
        url: String,
    },
    /// Show the URL of the events, and the place of the secret
    Show,
    /// Request a new secret and store it; the old one is accepted until the new one is in use
    RotateSecret,
    /// Remove the webhook and its stored secret
    Remove,
}

/// The result of the command for a space.
struct SpaceResult {
    space: String,
    webhook: Option<Webhook>,
    /// The change, in words; empty if nothing changed.
    done: &'static str,
}

pub(super) async fn run(context: &CommandContext, args: Args) -> Result<ExitStatus> {
    let config = context.config()?;
    config.require_token()?;
    if let Action::Install { url } = &args.action {
        check_url(url)?;
    }
    if matches!(args.action, Action::Install { .. } | Action::RotateSecret) && !args.print_secret {
        secrets::prepare(&config.webhook)?;
    }
    let client = Client::new(&config.api, context.cancel.clone())?;
    let spaces = spaces(
        &client,
        &config,
        &args.space.iter().map(Into::into).collect::<Vec<_>>(),
    )
    .await?;
    let (mut good, mut first_error) = (0, None);
    for space in spaces {
        match act(&client, &config.webhook, &args.action, &space).await {
            Ok(result) => {
                good += 1;
                report(context, &config.webhook, &result, args.print_secret)?;
            }
            Err(error) => {
                eprintln!("telelake: space {space}: {error}");
                first_error.get_or_insert(error);
            }
        }
    }
    Ok(match first_error {
        None => ExitStatus::Done,
        Some(error) if good == 0 => error.exit_status(),
        Some(_) => ExitStatus::Partial,
    })
}

fn check_url(url: &str) -> Result<()> {
    let good = reqwest::Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    });
    if good {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, "--url", "is not an http(s) URL")
        .hint("such as https://lake.example.org/webhooks/teleboss"))
}

/// The spaces that were named, or else those in scope.
async fn spaces(client: &Client, config: &Config, named: &[SpaceId]) -> Result<Vec<SpaceId>> {
    let seen: Vec<SpaceId> = client
        .spaces()
        .await?
        .items
        .into_iter()
        .map(|space| space.id)
        .collect();
    let wanted = [named, &config.scope.spaces]
        .into_iter()
        .find(|ids| !ids.is_empty());
    let Some(wanted) = wanted else {
        return if seen.is_empty() {
            Err(Error::new(ErrorKind::Forbidden, "API", "the token sees no space"))
        } else {
            Ok(seen)
        };
    };
    match wanted.iter().find(|id| !seen.contains(id)) {
        Some(id) => Err(Error::new(
            ErrorKind::NotFound,
            format!("space {id}"),
            "is not among those that the token sees",
        )),
        None => Ok(wanted.to_vec()),
    }
}

async fn act(
    client: &Client,
    config: &config::Webhook,
    action: &Action,
    space: &SpaceId,
) -> Result<SpaceResult> {
    let result = |webhook, done| SpaceResult {
        space: space.to_string(),
        webhook,
        done,
    };
    let there = match client.webhook(space).await {
        Ok(webhook) => Some(webhook),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match (action, there) {
        (Action::Install { url }, there) => install(client, config, space, url, there)
            .await
            .map(|(webhook, done)| result(Some(webhook), done)),
        (Action::Show, there) => Ok(result(there, "")),
        (Action::RotateSecret, Some(_)) => {
            let webhook = client.refresh_webhook(space).await?;
            keep(config, space, secret_of(&webhook)?)?;
            Ok(result(Some(webhook), "a new secret"))
        }
        (Action::RotateSecret, None) => Err(Error::new(ErrorKind::NotFound, "webhook", "there is none")
            .hint("`telelake webhook install --url URL` makes one")),
        (Action::Remove, Some(_)) => {
            client.delete_webhook(space).await?;
            secrets::forget(config, space)?;
            Ok(result(None, "removed"))
        }
        (Action::Remove, None) => {
            secrets::forget(config, space)?;
            Ok(result(None, "there was none"))
        }
    }
}

/// Creates the webhook, or changes the existing one to the URL. Requests a new secret only if none is known.
async fn install(
    client: &Client,
    config: &config::Webhook,
    space: &SpaceId,
    url: &str,
    there: Option<Webhook>,
) -> Result<(Webhook, &'static str)> {
    let Some(there) = there else {
        let mut webhook = client.create_webhook(space, url).await?;
        if webhook.secret.is_none() {
            webhook = client.refresh_webhook(space).await?;
        }
        keep(config, space, secret_of(&webhook)?)?;
        return Ok((webhook, "made"));
    };
    let leads_there = there.url.as_deref() == Some(url) && there.is_active != Some(false);
    let mut webhook = if leads_there {
        there
    } else {
        client.update_webhook(space, url, true).await?
    };
    if secrets::place(config, space) == SecretLocation::Nowhere {
        if webhook.secret.is_none() {
            webhook = client.refresh_webhook(space).await?;
        }
        keep(config, space, secret_of(&webhook)?)?;
        return Ok((webhook, "changed, with a new secret"));
    }
    Ok((
        webhook,
        if leads_there {
            "was there already"
        } else {
            "changed"
        },
    ))
}

fn secret_of(webhook: &Webhook) -> Result<&Secret> {
    webhook.secret.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidAnswer,
            "webhook",
            "the API answered without a secret",
        )
        .hint("copy it from the account's «Интеграция» page into webhook.secret or [webhook.secrets]")
    })
}

/// Stores the secret. Without `webhook.secrets_dir` it is only printed, because `--print-secret` was given.
fn keep(config: &config::Webhook, space: &str, secret: &Secret) -> Result<()> {
    if config.secrets_dir.is_empty() {
        return Ok(());
    }
    secrets::keep(config, space, secret).map(|_| ())
}

fn report(
    context: &CommandContext,
    config: &config::Webhook,
    result: &SpaceResult,
    print_secret: bool,
) -> Result<()> {
    let webhook = result.webhook.as_ref();
    let place = match secrets::place(config, &result.space) {
        SecretLocation::File(path) => path.display().to_string(),
        SecretLocation::Configuration => "the configuration".into(),
        SecretLocation::Nowhere => "nowhere".into(),
    };
    // Secrets are printed only for `--print-secret`.
    let secret = webhook
        .and_then(|webhook| webhook.secret.as_ref())
        .filter(|_| print_secret)
        .map(Secret::expose);
    if context.format == LogFormat::Json {
        return output::print_json(&json!({
            "space_id": result.space,
            "done": result.done,
            "url": webhook.and_then(|webhook| webhook.url.as_ref()),
            "is_active": webhook.and_then(|webhook| webhook.is_active),
            "secret_kept_in": place,
            "secret": secret,
        }));
    }
    let mut line = format!("space {}: ", result.space);
    if !result.done.is_empty() {
        line.push_str(&format!("{}; ", result.done));
    }
    match webhook {
        None => line.push_str("no webhook"),
        Some(webhook) => {
            let state = if webhook.is_active == Some(false) {
                "switched off"
            } else {
                "active"
            };
            let url = webhook.url.as_deref().unwrap_or("?");
            line.push_str(&format!(
                "{state}, events go to {url}; the secret is kept in {place}"
            ));
        }
    }
    if let Some(secret) = secret {
        line.push_str(&format!("; secret: {secret}"));
    }
    super::print(&format!("{line}\n"))
}

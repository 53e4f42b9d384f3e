//! The connection to an S3 server: the AWS chain, the configuration's additions to it, timeouts and retries.
//!
//! Credentials come from the AWS chain alone (environment, profile, web identity, container, instance). A private CA is
//! named by `AWS_CA_BUNDLE`, as for every AWS tool; it is trusted besides the system's roots.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::ConnectorBuilder;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use crate::config;
use crate::{Error, ErrorKind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a single attempt of a request without a large body. Conditional writes may wait seconds for one
/// another.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// A body that is slower than this is aborted and sent again.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;
/// The time for which a body may stand still before the attempt is aborted.
const STALL: Duration = Duration::from_secs(30);
/// Attempts of a request, the first one included.
pub(super) const ATTEMPTS: u32 = 5;
/// Servers that are not AWS ignore the region, but signing needs one.
const DEFAULT_REGION: &str = "us-east-1";

/// The AWS chain, with the configuration's region and the private CA added.
///
/// # Errors
/// `Config` if `AWS_CA_BUNDLE` names no file of certificates.
pub(super) async fn sdk_config(settings: &config::S3) -> Result<SdkConfig> {
    let mut loader: ConfigLoader =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()?);
    if !settings.region.is_empty() {
        loader = loader.region(Region::new(settings.region.clone()));
    } else if endpoint(settings).is_some() {
        // Not the whole default chain, because its last link asks the instance's metadata, which exists only on AWS.
        loader = loader.region(
            RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .or_else(Region::from_static(DEFAULT_REGION)),
        );
    }
    Ok(loader.load().await)
}

/// The endpoint, if it is not AWS's own and is known: the SDK may read another one from its profile.
pub(super) fn endpoint(settings: &config::S3) -> Option<String> {
    let of_environment = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(settings.endpoint_url.clone())
        .filter(|endpoint| !endpoint.is_empty())
        .or_else(|| of_environment("AWS_ENDPOINT_URL_S3"))
        .or_else(|| of_environment("AWS_ENDPOINT_URL"))
}

/// The HTTP client of the SDK. It trusts the system's roots and, if `AWS_CA_BUNDLE` is set, the certificates in it.
fn http_client() -> Result<SharedHttpClient> {
    let tls = TlsContext::builder()
        .with_trust_store(trusted_roots()?)
        .build()
        .map_err(|error| bad_bundle(error.to_string()))?;
    Ok(
        aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = ConnectorBuilder::default()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(tls.clone())
                .proxy_config(ProxyConfig::from_env());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            connector.build()
        }),
    )
}

fn trusted_roots() -> Result<TrustStore> {
    let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        return Ok(TrustStore::default());
    };
    let pem = std::fs::read(&path).map_err(|error| bad_bundle(format!("can't be read: {error}")))?;
    // The SDK panics on a certificate that it can't parse, so parse them here first.
    reqwest::Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| bad_bundle("holds no PEM certificates".into()))?;
    Ok(TrustStore::default().with_pem_certificate(pem))
}

fn bad_bundle(why: String) -> Error {
    Error::new(ErrorKind::Config, "AWS_CA_BUNDLE", why)
}

/// The client for a store.
pub(super) fn client(sdk: &SdkConfig, settings: &config::S3) -> Client {
    let mut config = aws_sdk_s3::config::Builder::from(sdk);
    // Not in `sdk`, because there it would also be the endpoint of the services that give credentials.
    if !settings.endpoint_url.is_empty() {
        config = config.endpoint_url(&settings.endpoint_url);
    }
    let config = config
        .force_path_style(settings.path_style)
        // No checksum unless a server asks for it, because over plain HTTP it would be sent as a trailer in an
        // `aws-chunked` body, which several S3 servers store with the object or refuse. The payload is signed anyway.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALL)
                .build(),
        )
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .retry_classifier(ThrottlesAreHeld)
        .timeout_config(timeouts(0))
        .build();
    Client::from_conf(config)
}

/// Leaves answers that ask to slow down to [`super::hold`], which waits longer and stops with the run.
#[derive(Debug)]
struct ThrottlesAreHeld;

impl ClassifyRetry for ThrottlesAreHeld {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().map(|answer| answer.status().as_u16()) {
            Some(429 | 503) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "throttles are held"
    }
}

/// The timeouts of a request with a body of `bytes`.
pub(super) fn timeouts(bytes: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND))
        .build()
}

/// The settings that a request with a body of `bytes` overrides: its timeouts.
pub(super) fn sized(bytes: u64) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts(bytes))
}

//! TLS: the crypto provider that all connections share, and certificate errors found in an error's chain of causes. Used by
//! every file that opens HTTPS connections.

use std::error::Error as StdError;
use std::io;
use std::sync::Once;

use chrono::DateTime;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

/// Builds a client that uses the process's only TLS provider, `ring`. Every client of the crate is built from this.
pub fn http_client() -> reqwest::ClientBuilder {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // This fails only if a provider is installed already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
}

/// The number of a certificate's names that are shown; a hosting provider's certificate may have hundreds.
const NAMES_SHOWN: usize = 3;

/// The number of a name's characters that are shown.
const LONGEST_NAME: usize = 100;

/// The reason why a certificate is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// It has expired, with the date if it is known.
    Expired(Option<String>),
    /// It is not valid yet, with the first date if it is known.
    NotYetValid(Option<String>),
    /// It is for other names than the host's.
    OtherName {
        /// The host.
        host: String,
        /// The certificate's names.
        names: Vec<String>,
    },
    /// It is signed by an authority that this machine does not trust.
    UnknownAuthority,
    /// Another reason, in the library's words.
    Other(String),
}

impl CertificateFault {
    /// Finds the fault in an error or in one of its causes.
    pub fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(fault) = of_tls(cause).or_else(|| of_io(cause)) {
                return Some(fault);
            }
            next = cause.source();
        }
        None
    }

    /// The sentence about the fault.
    pub fn message(&self) -> String {
        match self {
            Self::Expired(date) => match date {
                Some(date) => format!("the server's certificate has expired on {date}"),
                None => "the server's certificate has expired".into(),
            },
            Self::NotYetValid(date) => match date {
                Some(date) => format!("the server's certificate is not valid before {date}"),
                None => "the server's certificate is not valid yet".into(),
            },
            Self::OtherName { host, names } if names.is_empty() => {
                format!("the server's certificate is not for {host}")
            }
            Self::OtherName { host, names } => {
                let more = if names.len() > NAMES_SHOWN {
                    " and others"
                } else {
                    ""
                };
                let shown = &names[..names.len().min(NAMES_SHOWN)];
                format!(
                    "the server's certificate is not for {host} but for {}{more}",
                    shown.join(", ")
                )
            }
            Self::UnknownAuthority => {
                "the server's certificate is signed by an authority that this machine does not know".into()
            }
            Self::Other(why) => format!("the server's certificate is not trusted: {why}"),
        }
    }

    /// The way out. `bundle` is the variable that names a file of more authorities.
    pub fn hint(&self, bundle: &str) -> String {
        match self {
            Self::Expired(_) => {
                "have it renewed; if it is valid, this machine's clock is wrong: set it, for example by NTP"
                    .into()
            }
            Self::NotYetValid(_) => "set this machine's clock, for example by NTP".into(),
            Self::OtherName { .. } => {
                "use a host name that the certificate has, or have one issued for this name".into()
            }
            Self::UnknownAuthority => format!(
                "where a private CA or a proxy stands between, name a PEM file with the CA's certificate in {bundle}"
            ),
            Self::Other(_) => {
                format!("have a valid one issued; a private CA's own certificate is named by {bundle}")
            }
        }
    }
}

/// The fault in an error of the TLS library.
fn of_tls(error: &(dyn StdError + 'static)) -> Option<CertificateFault> {
    match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(fault) => Some(of_certificate(fault)),
        _ => None,
    }
}

/// The fault in the error inside an I/O error. It is asked for here because an I/O error leaves it out of its chain of
/// causes.
fn of_io(error: &(dyn StdError + 'static)) -> Option<CertificateFault> {
    let held = error.downcast_ref::<io::Error>()?.get_ref()?;
    of_tls(held).or_else(|| of_io(held))
}

fn of_certificate(fault: &CertificateError) -> CertificateFault {
    match fault {
        CertificateError::Expired => CertificateFault::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => CertificateFault::Expired(date(*not_after)),
        CertificateError::NotValidYet => CertificateFault::NotYetValid(None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            CertificateFault::NotYetValid(date(*not_before))
        }
        CertificateError::NotValidForName => CertificateFault::OtherName {
            host: "this host".into(),
            names: Vec::new(),
        },
        CertificateError::NotValidForNameContext { expected, presented } => CertificateFault::OtherName {
            host: expected.to_str().into_owned(),
            names: presented.iter().map(|name| plain(name)).collect(),
        },
        // A bad signature is that of another authority of the same name, such as a renewed private CA.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CertificateFault::UnknownAuthority
        }
        other => CertificateFault::Other(other.to_string()),
    }
}

/// A name without the library's notation of its kind, as in `DnsName("a.example")`.
fn plain(name: &str) -> String {
    let quoted = name
        .split_once("(\"")
        .and_then(|(_, rest)| rest.strip_suffix("\")"));
    quoted.unwrap_or(name).chars().take(LONGEST_NAME).collect()
}

fn date(time: UnixTime) -> Option<String> {
    let at = DateTime::from_timestamp(i64::try_from(time.as_secs()).ok()?, 0)?;
    Some(at.format("%F").to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wrapped(fault: CertificateError) -> io::Error {
        let tls = rustls::Error::InvalidCertificate(fault);
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls))
    }

    #[test]
    fn each_fault_is_found_inside_other_errors_and_has_its_own_hint() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: at(1_764_201_600),
            not_after: at(1_764_115_200),
        };
        let cases = [
            (expired, "has expired on 2025-11-26", "renewed"),
            (CertificateError::Expired, "has expired", "renewed"),
            (CertificateError::NotValidYet, "not valid yet", "clock"),
            (
                CertificateError::NotValidForName,
                "not for this host",
                "host name",
            ),
            (
                CertificateError::UnknownIssuer,
                "authority that this machine does not know",
                "BUNDLE",
            ),
            (CertificateError::Revoked, "not trusted", "issued"),
        ];
        for (fault, message, hint) in cases {
            let found = CertificateFault::find(&wrapped(fault)).expect(message);
            assert!(found.message().contains(message), "{}", found.message());
            assert!(found.hint("BUNDLE").contains(hint), "{}", found.hint("BUNDLE"));
        }
        assert_eq!(
            CertificateFault::find(&io::Error::other("a connection cut")),
            None
        );
    }

    #[test]
    fn only_a_few_of_a_certificates_names_are_shown() {
        let names = ["a", "b", "c", "d"].map(|name| plain(&format!("DnsName(\"{name}.example\")")));
        let fault = CertificateFault::OtherName {
            host: "s3.example".into(),
            names: names.into(),
        };
        assert_eq!(
            fault.message(),
            "the server's certificate is not for s3.example but for a.example, b.example, c.example and others"
        );
    }
}

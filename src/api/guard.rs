//! Where a download may lead. A link comes from outside: it must not make this machine ask its own network, such as
//! the metadata service of a cloud. Addresses are looked at when they are connected to, whatever name led there: as
//! literals in the URL and in each redirect, and as what names resolve to. Only when the API itself lies on such an
//! address (the simulator, an installation of one's own) may downloads lie there too.
//!
//! Behind a proxy the proxy looks names up and connects: then only literal addresses can be looked at here.
//!
//! `is_public` and `refusal` are pure; the rest looks names up. `sender` holds the guard, `download` asks it.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};
use tokio::sync::OnceCell;

/// Redirects that a download follows.
const MOST_REDIRECTS: usize = 5;
/// Where proxies are named.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// Why a link, or a redirect, is not followed. It names no URL: links are secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NotPublic,
    Scheme,
    Downgrade,
    TooMany,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPublic => "leads to an address that is not public",
            Self::Scheme => "leads to no http(s) URL",
            Self::Downgrade => "leads from https to http",
            Self::TooMany => "redirects too often",
        })
    }
}

impl std::error::Error for Refusal {}

/// Looks after where downloads lead.
pub(super) struct Guard {
    base: Url,
    names: Arc<dyn Resolve>,
    /// Hosts of proxies: they are the operator's choice, wherever they lie.
    proxies: HashSet<String>,
    /// Whether the API lies on an address that is not public, once it was looked up.
    home: OnceCell<bool>,
    is_home: AtomicBool,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// A guard of downloads for the API at `base`, whose names are looked up in `names`.
    pub(super) fn new(base: &Url, names: Arc<dyn Resolve>) -> Arc<Self> {
        Arc::new(Self {
            base: base.clone(),
            names,
            proxies: proxies(),
            home: OnceCell::new(),
            is_home: AtomicBool::new(false),
        })
    }

    /// Whether a link may be asked; looks the API's own host up at the first one.
    pub(super) async fn admit(&self, link: &Url) -> Result<(), Refusal> {
        let look_up = || async {
            let addresses = match literal(&self.base) {
                Some(address) => vec![address],
                None => self.look_up(self.base.host_str().unwrap_or_default()).await,
            };
            let home = addresses.iter().any(|address| !is_public(*address));
            self.is_home.store(home, Ordering::Relaxed);
            home
        };
        let home = *self.home.get_or_init(look_up).await;
        refusal(link, None, home).map_or(Ok(()), Err)
    }

    /// The addresses of a name; none where it can't be looked up.
    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = name.parse::<Name>() else {
            return Vec::new();
        };
        let found = self.names.resolve(name).await;
        found.map_or(Vec::new(), |found| found.map(|address| address.ip()).collect())
    }

    /// Few redirects, none to another scheme, none from https to http, none to an address that is not public.
    pub(super) fn redirects(self: &Arc<Self>) -> redirect::Policy {
        let guard = Arc::clone(self);
        redirect::Policy::custom(move |attempt| {
            let refusal = if attempt.previous().len() > MOST_REDIRECTS {
                Some(Refusal::TooMany)
            } else {
                let home = guard.is_home.load(Ordering::Relaxed);
                refusal(attempt.url(), attempt.previous().last(), home)
            };
            match refusal {
                Some(refusal) => attempt.error(refusal),
                None => attempt.follow(),
            }
        })
    }

    /// What a client of downloads looks names up with.
    pub(super) fn names(self: &Arc<Self>) -> Arc<GuardedNames> {
        Arc::new(GuardedNames(Arc::clone(self)))
    }
}

/// Names whose addresses are public, or the API's neighbours.
pub(super) struct GuardedNames(Arc<Guard>);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        let free = guard.is_home.load(Ordering::Relaxed)
            || guard.proxies.contains(&name.as_str().to_ascii_lowercase());
        Box::pin(async move {
            let found: Vec<SocketAddr> = guard.names.resolve(name).await?.collect();
            let some = !found.is_empty();
            let allowed: Vec<_> = found
                .into_iter()
                .filter(|address| free || is_public(address.ip()))
                .collect();
            if some && allowed.is_empty() {
                return Err(Refusal::NotPublic.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The system's own way to look names up.
pub(super) struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// The hosts that the environment names as proxies.
fn proxies() -> HashSet<String> {
    let named = PROXIES
        .iter()
        .flat_map(|name| [std::env::var(name), std::env::var(name.to_ascii_uppercase())]);
    named.flatten().filter_map(|value| proxy_host(&value)).collect()
}

/// `proxy.example` of `http://user:password@proxy.example:3128`, also without a scheme.
fn proxy_host(value: &str) -> Option<String> {
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    url.ok()?.host_str().map(str::to_ascii_lowercase)
}

/// Why `url` is not followed, after `previous` where a redirect led there.
fn refusal(url: &Url, previous: Option<&Url>, home: bool) -> Option<Refusal> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Some(Refusal::Scheme);
    }
    if url.scheme() == "http" && previous.is_some_and(|previous| previous.scheme() == "https") {
        return Some(Refusal::Downgrade);
    }
    let not_public = literal(url).is_some_and(|address| !is_public(address));
    (not_public && !home).then_some(Refusal::NotPublic)
}

/// The address that a URL names itself. The URL's parser has made dotted quads of all other ways to write one.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether an address belongs to the open internet: not to this machine, its networks, or nobody.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// By the registry of special addresses (RFC 6890 and those that update it).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let special = match octets {
        [0 | 10 | 127 | 224..=255, ..] => true,
        [100, 64..=127, ..] => true,
        [192, 0, 0, _] | [192, 88, 99, _] => true,
        [198, 18 | 19, ..] => true,
        _ => address.is_private() || address.is_link_local() || address.is_documentation(),
    };
    !special
}

/// The IPv4 address that an IPv6 one stands for: mapped, translated (NAT64) or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Of the unicast block that is in use, what is not set apart for something else.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments, Teredo among them; documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_open_internet_are_told_from_all_others() {
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.1.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4010:c0e::71",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:0a00:0001::1",
            "2002:7f00:0001::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_link_is_held_against_its_scheme_its_address_and_where_it_came_from() {
        let of = |url: &str, previous: Option<&str>, home| {
            let previous = previous.map(|previous| Url::parse(previous).unwrap());
            refusal(&Url::parse(url).unwrap(), previous.as_ref(), home)
        };
        assert_eq!(of("https://blob.example/r?sig=1", None, false), None);
        assert_eq!(of("http://blob.example/r", None, false), None);
        assert_eq!(of("http://b.example/", Some("http://a.example/"), false), None);
        assert_eq!(of("https://b.example/", Some("http://a.example/"), false), None);
        assert_eq!(
            of("http://b.example/", Some("https://a.example/"), true),
            Some(Refusal::Downgrade)
        );
        for url in [
            "ftp://h/r",
            "file:///etc/passwd",
            "data:text/plain,x",
            "gopher://h/",
        ] {
            assert_eq!(of(url, None, true), Some(Refusal::Scheme), "{url}");
        }
        // Every way that an address can be written.
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "http://user:password@10.0.0.1/",
        ] {
            assert_eq!(of(url, None, false), Some(Refusal::NotPublic), "{url}");
            assert_eq!(of(url, None, true), None, "{url}");
        }
    }

    #[test]
    fn proxies_are_known_by_their_hosts() {
        for value in [
            "http://user:password@Proxy.example:3128",
            "proxy.example:3128",
            "https://proxy.example/",
        ] {
            assert_eq!(proxy_host(value).as_deref(), Some("proxy.example"), "{value}");
        }
        assert_eq!(proxy_host(""), None);
    }
}

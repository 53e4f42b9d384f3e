//! Guards against download links into the private network. A link comes from outside and must not make this machine
//! send requests to its own network, such as a cloud's metadata service. The guard checks literal addresses in links and
//! redirects, and the addresses that names resolve to. Downloads may come from a private address only if the API itself
//! has one (the simulator, or an installation on premises).
//!
//! Behind a proxy, the proxy resolves names and connects, so the guard can check only literal addresses.
//!
//! `is_public` and `refusal` are pure; the rest resolves names. `sender` owns the guard, `download` asks it.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};
use tokio::sync::OnceCell;

use crate::api::problem::LinkRefusal;

/// The most redirects that a download follows.
const MOST_REDIRECTS: usize = 5;
/// The environment variables that name proxies.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// Checks the addresses of downloads.
pub(in crate::api) struct DownloadGuard {
    base: Url,
    names: Arc<dyn Resolve>,
    /// Hosts of proxies. They may be private, because the operator chose them.
    proxies: HashSet<String>,
    /// True if the API has a private address; set when the API's name is first resolved.
    api_is_private: OnceCell<bool>,
}

impl fmt::Debug for DownloadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadGuard")
            .field("api_is_private", &self.api_is_private)
            .finish_non_exhaustive()
    }
}

impl DownloadGuard {
    /// A guard for downloads of the API at `base`. It resolves names with `names`.
    pub(in crate::api) fn new(base: &Url, names: Arc<dyn Resolve>) -> Arc<Self> {
        Arc::new(Self {
            base: base.clone(),
            names,
            proxies: proxies(),
            api_is_private: OnceCell::new(),
        })
    }

    /// Checks a link before its request is sent. The first call resolves the API's own host.
    pub(super) async fn admit(&self, link: &Url) -> Result<(), LinkRefusal> {
        let look_up = || async {
            let addresses = match literal(&self.base) {
                Some(address) => vec![address],
                None => self.look_up(self.base.host_str().unwrap_or_default()).await,
            };
            addresses.iter().any(|address| !is_public(*address))
        };
        let api_is_private = *self.api_is_private.get_or_init(look_up).await;
        refusal(link, None, api_is_private).map_or(Ok(()), Err)
    }

    /// True if the API is known to have a private address.
    fn is_api_private(&self) -> bool {
        self.api_is_private
            .get()
            .is_some_and(|api_is_private| *api_is_private)
    }

    /// The addresses of a name; none if it can't be resolved.
    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let Ok(name) = name.parse::<Name>() else {
            return Vec::new();
        };
        let found = self.names.resolve(name).await;
        found.map_or(Vec::new(), |found| found.map(|address| address.ip()).collect())
    }

    /// The redirect policy for downloads: few redirects, http(s) only, none from https to http, none to a private address.
    pub(in crate::api) fn redirects(self: &Arc<Self>) -> redirect::Policy {
        let guard = Arc::clone(self);
        redirect::Policy::custom(move |attempt| {
            let refusal = if attempt.previous().len() > MOST_REDIRECTS {
                Some(LinkRefusal::TooMany)
            } else {
                refusal(attempt.url(), attempt.previous().last(), guard.is_api_private())
            };
            match refusal {
                Some(refusal) => attempt.error(refusal),
                None => attempt.follow(),
            }
        })
    }

    /// The resolver for the HTTP client of downloads.
    pub(in crate::api) fn names(self: &Arc<Self>) -> Arc<GuardedNames> {
        Arc::new(GuardedNames(Arc::clone(self)))
    }
}

/// A resolver that drops private addresses unless the API itself has one.
pub(in crate::api) struct GuardedNames(Arc<DownloadGuard>);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        let free = guard.is_api_private() || guard.proxies.contains(&name.as_str().to_ascii_lowercase());
        Box::pin(async move {
            let found: Vec<SocketAddr> = guard.names.resolve(name).await?.collect();
            let some = !found.is_empty();
            let allowed: Vec<_> = found
                .into_iter()
                .filter(|address| free || is_public(address.ip()))
                .collect();
            if some && allowed.is_empty() {
                return Err(LinkRefusal::NotPublic.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The resolver of the operating system.
pub(in crate::api) struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// The hosts of the proxies in the environment.
fn proxies() -> HashSet<String> {
    let named = PROXIES
        .iter()
        .flat_map(|name| [std::env::var(name), std::env::var(name.to_ascii_uppercase())]);
    named.flatten().filter_map(|value| proxy_host(&value)).collect()
}

/// The host of a proxy URL, with or without a scheme: `proxy.example` for `http://user:password@proxy.example:3128`.
fn proxy_host(value: &str) -> Option<String> {
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    url.ok()?.host_str().map(str::to_ascii_lowercase)
}

/// The reason not to follow `url`, if any. `previous`: the URL whose redirect led there.
fn refusal(url: &Url, previous: Option<&Url>, api_is_private: bool) -> Option<LinkRefusal> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Some(LinkRefusal::Scheme);
    }
    if url.scheme() == "http" && previous.is_some_and(|previous| previous.scheme() == "https") {
        return Some(LinkRefusal::Downgrade);
    }
    let not_public = literal(url).is_some_and(|address| !is_public(address));
    (not_public && !api_is_private).then_some(LinkRefusal::NotPublic)
}

/// The literal address in a URL. The URL parser has already normalised all notations of an IPv4 address.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// True if an address belongs to the public internet, and not to this machine, a private network or a reserved block.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// Applies the registry of special-purpose addresses (RFC 6890 and its updates).
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

/// The IPv4 address within an IPv6 one: mapped, translated (NAT64) or 6to4.
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

/// True within the global unicast block, without its special-purpose parts.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments such as Teredo; documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_told_from_all_others() {
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
    fn a_link_is_checked_by_scheme_address_and_previous_url() {
        let of = |url: &str, previous: Option<&str>, api_is_private| {
            let previous = previous.map(|previous| Url::parse(previous).unwrap());
            refusal(&Url::parse(url).unwrap(), previous.as_ref(), api_is_private)
        };
        assert_eq!(of("https://blob.example/r?sig=1", None, false), None);
        assert_eq!(of("http://blob.example/r", None, false), None);
        assert_eq!(of("http://b.example/", Some("http://a.example/"), false), None);
        assert_eq!(of("https://b.example/", Some("http://a.example/"), false), None);
        assert_eq!(
            of("http://b.example/", Some("https://a.example/"), true),
            Some(LinkRefusal::Downgrade)
        );
        for url in [
            "ftp://h/r",
            "file:///etc/passwd",
            "data:text/plain,x",
            "gopher://h/",
        ] {
            assert_eq!(of(url, None, true), Some(LinkRefusal::Scheme), "{url}");
        }
        // All notations of an address.
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
            assert_eq!(of(url, None, false), Some(LinkRefusal::NotPublic), "{url}");
            assert_eq!(of(url, None, true), None, "{url}");
        }
    }

    #[test]
    fn the_host_of_a_proxy_is_read_from_its_url() {
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

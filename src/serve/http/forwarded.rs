//! The headers of proxies: they show that a request was forwarded, and for which client. Pure.
//!
//! Anybody can send these headers. The client's address is read from them only if the connection comes from a configured
//! proxy, and then from the right, because each proxy appends the address that it saw.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{FORWARDED, HeaderName, VIA};
use axum::http::{HeaderMap, Version};

use crate::config::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers that proxies and content networks add, besides `Forwarded`, `Via` and `X-Forwarded-…`.
const MARKS: [&str; 10] = [
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-for",
    "x-original-host",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

/// True if a request shows that it came through a proxy. A proxy that adds no header at all still speaks HTTP/1.0, as nginx
/// does by default and no current browser does.
pub(super) fn is_forwarded(version: Version, headers: &HeaderMap) -> bool {
    let marks = |name: &HeaderName| {
        *name == FORWARDED
            || *name == VIA
            || name.as_str().starts_with("x-forwarded")
            || MARKS.contains(&name.as_str())
    };
    version < Version::HTTP_11 || headers.keys().any(marks)
}

/// The client's address: the peer of the connection or, behind trusted proxies, the last address that is not a proxy.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let by_list = chain(headers, &X_FORWARDED_FOR, |item| Some(item));
    let by_standard = chain(headers, &FORWARDED, for_of);
    // A proxy appends to one header and may forward the other as a stranger sent it, so two that differ prove nothing.
    let chain = match (by_list, by_standard) {
        (Some(one), Some(other)) if one != other => return peer,
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => return peer,
    };
    let mut client = peer;
    for address in chain.into_iter().rev() {
        let Some(address) = address else {
            // No proxy vouches for anything left of this.
            return client;
        };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// The addresses of a header from left to right, `None` for an item that is no address; `None` without the header.
fn chain(
    headers: &HeaderMap,
    name: &HeaderName,
    address_in: impl Fn(&str) -> Option<&str>,
) -> Option<Vec<Option<IpAddr>>> {
    let mut found = None;
    for value in headers.get_all(name) {
        let all = found.get_or_insert_with(Vec::new);
        // A value that is not text, or has a comma in quotes, gives items that are no addresses.
        for item in value.to_str().unwrap_or_default().split(',') {
            all.push(address_in(item.trim()).and_then(address));
        }
    }
    found
}

/// The `for=` of an item of `Forwarded`.
fn for_of(item: &str) -> Option<&str> {
    item.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(bare.unwrap_or(value))
    })
}

/// An address with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    let address: Option<IpAddr> = text.parse().ok().or_else(bracketed).or_else(with_port);
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in of {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    fn client_of(peer: &str, of: &[(&'static str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "::1", "127.0.0.1"].map(|one| one.parse().expect("a network"));
        client(peer.parse().expect("address"), &headers(of), &trusted).to_string()
    }

    #[test]
    fn a_request_through_a_proxy_is_recognised() {
        for name in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded",
            "x-real-ip",
            "cf-connecting-ip",
        ] {
            assert!(is_forwarded(Version::HTTP_11, &headers(&[(name, "x")])), "{name}");
        }
        let plain = headers(&[
            ("host", "localhost"),
            ("user-agent", "curl"),
            ("x-request-id", "1"),
        ]);
        assert!(!is_forwarded(Version::HTTP_11, &plain));
        assert!(is_forwarded(Version::HTTP_10, &plain), "nginx by default");
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        let list = "x-forwarded-for";
        for (chain, client) in [
            ("203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("10.1.1.2, 10.1.1.1", "10.1.1.2"),
            // An item that is no address ends the chain.
            ("203.0.113.7, unknown", "10.0.0.1"),
            ("203.0.113.7, unknown, 10.1.1.1", "10.1.1.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(client_of("10.0.0.1", &[(list, chain)]), client, "{chain}");
        }
        let twice = [(list, "198.51.100.1"), (list, "203.0.113.7")];
        assert_eq!(client_of("10.0.0.1", &twice), "203.0.113.7", "lines are one list");
        let standard = r#"for=198.51.100.1, For="[2001:db8::7]:4711";proto=https;by=10.0.0.1"#;
        assert_eq!(client_of("::1", &[("forwarded", standard)]), "2001:db8::7");
        assert_eq!(
            client_of("::1", &[("forwarded", "for=_hidden, for=10.0.0.2")]),
            "10.0.0.2"
        );
        assert_eq!(client_of("::1", &[("forwarded", "proto=https")]), "::1");
        assert_eq!(client_of("::1", &[]), "::1");
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        let spoofed = [
            ("x-forwarded-for", "203.0.113.7"),
            ("forwarded", "for=203.0.113.7"),
        ];
        assert_eq!(client_of("192.0.2.1", &spoofed), "192.0.2.1");
        assert_eq!(client_of("::ffff:192.0.2.1", &spoofed), "192.0.2.1");
        assert_eq!(
            client_of("10.0.0.1", &spoofed),
            "203.0.113.7",
            "both say the same"
        );
        // The proxy appends to the list and forwards the other header as the stranger sent it.
        for by_stranger in ["for=198.51.100.9", "for=\"x", "for=198.51.100.9, for=203.0.113.7"] {
            let both = [("x-forwarded-for", "203.0.113.7"), ("forwarded", by_stranger)];
            assert_eq!(client_of("10.0.0.1", &both), "10.0.0.1", "{by_stranger}");
        }
    }

    proptest::proptest! {
        #[test]
        fn items_left_of_the_proxys_own_change_nothing(left in "[ -~]{0,60}") {
            let list = format!("{left}, 203.0.113.7");
            proptest::prop_assert_eq!(client_of("10.0.0.1", &[("x-forwarded-for", &list)]), "203.0.113.7");
            let standard = format!("{left}, for=203.0.113.7");
            proptest::prop_assert_eq!(client_of("10.0.0.1", &[("forwarded", &standard)]), "203.0.113.7");
        }
    }
}

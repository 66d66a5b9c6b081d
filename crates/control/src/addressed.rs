//! By whom the server was addressed, and how: what limits count, and what links, cookies and the check of forms go by.
//!
//! A connection tells its peer's address; what a proxy tells besides (`X-Forwarded-For`, `-Proto`, `-Host`) is believed only
//! from the proxies that the operator declared. Of a list, what the nearest proxy wrote is its last entry.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use tributary_targets::net::Cidr;

use crate::origin::Origin;

/// What the configuration says of addresses.
#[derive(Clone, Debug, Default)]
pub struct Addressing {
    /// Proxies that are believed (`server.trusted_proxies`).
    pub trusted_proxies: Vec<Cidr>,
    /// Where the server is reached (`server.public_url`).
    pub public_url: Option<PublicUrl>,
    /// Who may read the figures of the server (`server.metrics_from`).
    pub metrics_from: Vec<Cidr>,
}

/// The address under which callers reach the server, e.g. `https://fleet.example` or `https://example.com/tributary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    url: String,
    /// Scheme, host and port as browsers write them in `Origin`.
    origin: String,
}

/// A text that is no [`PublicUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address such as https://fleet.example or https://example.com/tributary")]
pub struct NotAPublicUrl(String);

impl FromStr for PublicUrl {
    type Err = NotAPublicUrl;

    fn from_str(text: &str) -> Result<PublicUrl, NotAPublicUrl> {
        let url = text.trim().trim_end_matches('/');
        let wrong = || NotAPublicUrl(text.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let usual = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(wrong()),
        };
        let host = rest.split('/').next().unwrap_or_default();
        if !is_host(host) || rest.contains(['?', '#', '"', '\\', ' ']) || !rest.is_ascii() {
            return Err(wrong());
        }
        let origin = format!("{scheme}://{}", host.strip_suffix(usual).unwrap_or(host).to_ascii_lowercase());
        Ok(PublicUrl { url: url.to_owned(), origin })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Whether a text can be a host with or without a port.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

impl Addressing {
    /// Whether a peer is a proxy that is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        contain(&self.trusted_proxies, peer)
    }
}

fn contain(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address.to_canonical()))
}

/// What a proxy told of a request, as its headers have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwarded<'a> {
    /// `X-Forwarded-For`.
    pub by: Option<&'a str>,
    /// `X-Forwarded-Proto`.
    pub proto: Option<&'a str>,
    /// `X-Forwarded-Host`.
    pub host: Option<&'a str>,
}

/// By whom a request came, and how it addressed the server.
#[derive(Clone, Debug, Default)]
pub struct Addressed {
    settings: Arc<Addressing>,
    from: Option<IpAddr>,
    secure: bool,
    host: Option<Box<str>>,
    /// A proxy that is not declared brought it, so that nobody knows from where it came.
    hidden: bool,
}

impl Addressed {
    /// A request that came over a connection from `peer`.
    pub fn new(settings: &Arc<Addressing>, peer: IpAddr, forwarded: Forwarded<'_>) -> Addressed {
        let settings = Arc::clone(settings);
        let from = Some(peer.to_canonical());
        if !settings.trusts(peer) {
            let hidden = forwarded.by.is_some();
            return Addressed { settings, from, hidden, ..Addressed::default() };
        }
        let secure = forwarded.proto.and_then(last).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let host = forwarded.host.and_then(last).filter(|host| is_host(host)).map(Box::from);
        let from = forwarded.by.map_or(from, |by| Some(caller(&settings, peer, by)));
        Addressed { settings, from, secure, host, hidden: false }
    }

    /// The caller's address; `None` when the server does not know it.
    pub fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// The caller as limits count it.
    pub fn origin(&self) -> Origin {
        Origin::from(self.from)
    }

    /// What links begin with, e.g. `https://fleet.example`, for a request with this `Host`; empty when nothing tells it,
    /// which makes a link relative.
    pub fn base(&self, host: Option<&str>) -> String {
        match (&self.settings.public_url, self.host.as_deref().or(host).filter(|host| is_host(host))) {
            (Some(public), _) => public.url.clone(),
            (None, Some(host)) => format!("{}://{host}", if self.secure { "https" } else { "http" }),
            (None, None) => String::new(),
        }
    }

    /// Whether the caller's browser reached the server over TLS, as far as that is known.
    pub fn is_secure(&self) -> bool {
        let public = self.settings.public_url.as_ref();
        self.secure || public.is_some_and(|public| public.origin.starts_with("https:"))
    }

    /// Whether a request with this `Origin` and `Host` was made by a page of ours, as far as the browser tells. Where there
    /// is a public address, only its pages are.
    pub fn is_own_page(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        if let Some(public) = &self.settings.public_url {
            return origin.eq_ignore_ascii_case(&public.origin);
        }
        let Some(host) = self.host.as_deref().or(host) else { return true };
        origin.split_once("://").is_some_and(|(_, told)| told.eq_ignore_ascii_case(host))
    }

    /// Whether the caller may read the figures of the server.
    pub fn may_see_metrics(&self) -> bool {
        // Without an address there is no network between, as in tests.
        self.from.is_none_or(|from| !self.hidden && contain(&self.settings.metrics_from, from))
    }
}

fn last(list: &str) -> Option<&str> {
    list.rsplit(',').map(str::trim).next().filter(|entry| !entry.is_empty())
}

/// The last address that is no trusted proxy's; where an entry is none, who told it.
fn caller(settings: &Addressing, peer: IpAddr, by: &str) -> IpAddr {
    let mut known = peer;
    for entry in by.rsplit(',') {
        let Some(address) = address_of(entry.trim()) else { break };
        known = address;
        if !settings.trusts(address) {
            break;
        }
    }
    known.to_canonical()
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
fn address_of(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    entry.trim_matches(['[', ']']).parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(public_url: Option<&str>) -> Arc<Addressing> {
        Arc::new(Addressing {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
            public_url: public_url.map(|url| url.parse().unwrap()),
            metrics_from: vec!["127.0.0.0/8".parse().unwrap()],
        })
    }

    fn told<'a>(by: &'a str, proto: &'a str, host: &'a str) -> Forwarded<'a> {
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        Forwarded { by: some(by), proto: some(proto), host: some(host) }
    }

    #[test]
    fn only_declared_proxies_tell_where_a_request_came_from() {
        for (peer, by, from) in [
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.1", "1.1.1.1, 198.51.100.7,10.0.0.2 ", "198.51.100.7"),
            ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
            ("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("::ffff:10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("::1", "198.51.100.7:4711", "198.51.100.7"),
        ] {
            let addressed = Addressed::new(&settings(None), peer.parse().unwrap(), told(by, "", ""));
            assert_eq!(addressed.from(), Some(from.parse().unwrap()), "{peer} {by}");
        }
    }

    #[test]
    fn links_and_cookies_go_by_what_is_believed() {
        let at = |public, peer: &str, proto, host| {
            let addressed = Addressed::new(&settings(public), peer.parse().unwrap(), told("", proto, host));
            (addressed.base(Some("inside:8080")), addressed.is_secure())
        };
        let public = Some("https://fleet.example/t/");
        for (public, peer, proto, host, base, secure) in [
            (None, "192.0.2.1", "https", "evil.example", "http://inside:8080", false),
            (None, "10.0.0.1", "https", "fleet.example", "https://fleet.example", true),
            (None, "10.0.0.1", "https", "", "https://inside:8080", true),
            (None, "10.0.0.1", "http, https", "evil.example, ok.example", "https://ok.example", true),
            (None, "10.0.0.1", "", "a\"b", "http://inside:8080", false),
            (public, "192.0.2.1", "", "evil.example", "https://fleet.example/t", true),
        ] {
            assert_eq!(at(public, peer, proto, host), (base.to_owned(), secure), "{peer} {proto} {host}");
        }
        assert_eq!(Addressed::default().base(None), "");
        assert_eq!(Addressed::default().base(Some("a/../b")), "");
    }

    #[test]
    fn a_page_of_another_origin_is_told_apart() {
        let plain = Addressed::default();
        let host = Some("tributary.example:8080");
        assert!(plain.is_own_page(None, host));
        assert!(plain.is_own_page(Some("https://tributary.example:8080"), host));
        for other in ["https://evil.example", "null", "http://tributary.example"] {
            assert!(!plain.is_own_page(Some(other), host), "{other}");
        }
        let peer = "192.0.2.1".parse().unwrap();
        let public = Addressed::new(&settings(Some("https://Fleet.example:443")), peer, Forwarded::default());
        assert!(public.is_own_page(Some("https://fleet.example"), host));
        assert!(!public.is_own_page(Some("https://tributary.example:8080"), host));
        assert!(!public.is_own_page(Some("http://fleet.example"), host));
    }

    #[test]
    fn figures_are_for_those_named_and_for_nobody_behind_an_undeclared_proxy() {
        let sees = |peer: &str, by| {
            Addressed::new(&settings(None), peer.parse().unwrap(), told(by, "", "")).may_see_metrics()
        };
        assert!(sees("127.0.0.1", ""));
        assert!(!sees("127.0.0.1", "198.51.100.7"));
        assert!(!sees("192.0.2.1", ""));
        assert!(sees("10.0.0.1", "127.0.0.1"));
        assert!(!sees("10.0.0.1", "198.51.100.7"));
    }

    #[test]
    fn a_public_address_is_one_of_http_without_a_query() {
        for wrong in ["", "fleet.example", "ftp://a", "https://", "https://a?b", "https://u@a", "https://a b"]
        {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }
}

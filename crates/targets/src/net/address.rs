//! Which addresses may be reached (contract 5).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses, such as `10.1.0.0/16` or `fd00::/8`; one address is a range too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// A text that is no [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 10.1.0.0/16, fd00::/8 or 10.1.2.3")]
pub struct NotACidr(String);

impl Cidr {
    const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Cidr {
        Cidr { network: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), prefix }
    }

    const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Cidr {
        Cidr { network: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix }
    }

    /// Whether the range has this address. An IPv4 address is in no IPv6 range, nor the other way round.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let differ = match (self.network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => (network.to_bits() ^ ip.to_bits()).leading_zeros(),
            (IpAddr::V6(network), IpAddr::V6(ip)) => (network.to_bits() ^ ip.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= u32::from(self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Cidr, NotACidr> {
        let wrong = || NotACidr(text.to_owned());
        let (network, prefix) = text.split_once('/').map_or((text, None), |(n, p)| (n, Some(p)));
        let network: IpAddr = network.trim().parse().map_err(|_| wrong())?;
        let widest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(widest), |prefix| prefix.trim().parse::<u8>()).map_err(|_| wrong())?;
        if prefix > widest { Err(wrong()) } else { Ok(Cidr { network, prefix }) }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Which addresses may be reached: public ones, and what the operator allowed.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Whether every address may be reached (`delivery.allow_private_targets`).
    pub allow_private: bool,
    /// Ranges that may be reached though they are not public (`delivery.allowed_targets`).
    pub allowed: Vec<Cidr>,
}

impl AddressPolicy {
    /// Whether `ip` may be reached.
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.refusal(ip).is_none()
    }

    /// Why `ip` may not be reached, as a sentence without a full stop; `None` when it may.
    pub fn refusal(&self, ip: IpAddr) -> Option<String> {
        if self.allow_private || self.allowed.iter().any(|range| range.contains(ip)) {
            return None;
        }
        if let Some(inner) = embedded(ip) {
            return self.refusal(inner);
        }
        let (_, kind) = NOT_PUBLIC.iter().find(|(range, _)| range.contains(ip))?;
        Some(format!("{ip} is {kind}; the operator can allow it with delivery.allowed_targets"))
    }
}

impl AddressPolicy {
    /// As [`AddressPolicy::refusal`] for a `host:port` that names an address itself; a host that has to be looked up is
    /// not refused before that, except `localhost`, which everybody knows.
    pub fn refusal_of(&self, destination: &str) -> Option<String> {
        let (host, _) = destination.rsplit_once(':')?;
        let local = host == "localhost" || host.ends_with(".localhost");
        let ip = match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => ip,
            Err(_) if local => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Err(_) => return None,
        };
        self.refusal(ip)
    }
}

/// The IPv4 address that a packet to this IPv6 address ends up at: mapped, 6to4 and NAT64 addresses.
fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let v4 =
        |high: u16, low: u16| Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

const PRIVATE: &str = "in a private range";
const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address";
const MULTICAST: &str = "a multicast address";
const RESERVED: &str = "in a reserved range";
const METADATA: &str = "a metadata service of a cloud";

/// Ranges that are not on the public internet, from the special-purpose registries of IANA; the first match names the
/// kind. 169.254.0.0/16, 100.64.0.0/10, 192.0.0.0/24 and fc00::/7 have the metadata services of the clouds in them, but
/// for the one of Azure.
const NOT_PUBLIC: &[(Cidr, &str)] = &[
    (Cidr::v4(0, 0, 0, 8), RESERVED),
    (Cidr::v4(10, 0, 0, 8), PRIVATE),
    (Cidr::v4(100, 64, 0, 10), PRIVATE),
    (Cidr::v4(127, 0, 0, 8), LOOPBACK),
    (Cidr { network: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), prefix: 32 }, METADATA),
    (Cidr::v4(169, 254, 0, 16), LINK_LOCAL),
    (Cidr::v4(172, 16, 0, 12), PRIVATE),
    (Cidr::v4(192, 0, 0, 24), RESERVED),
    (Cidr::v4(192, 0, 2, 24), RESERVED),
    (Cidr::v4(192, 88, 99, 24), RESERVED),
    (Cidr::v4(192, 168, 0, 16), PRIVATE),
    (Cidr::v4(198, 18, 0, 15), RESERVED),
    (Cidr::v4(198, 51, 100, 24), RESERVED),
    (Cidr::v4(203, 0, 113, 24), RESERVED),
    (Cidr::v4(224, 0, 0, 4), MULTICAST),
    (Cidr::v4(240, 0, 0, 4), RESERVED),
    (Cidr { network: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 }, LOOPBACK),
    (Cidr::v6(0, 0, 0, 96), RESERVED),
    (Cidr::v6(0x64, 0xff9b, 1, 48), RESERVED),
    (Cidr::v6(0x100, 0, 0, 64), RESERVED),
    // Teredo, benchmarks, ORCHID and other protocol assignments.
    (Cidr::v6(0x2001, 0, 0, 23), RESERVED),
    (Cidr::v6(0x2001, 0xdb8, 0, 32), RESERVED),
    (Cidr::v6(0x3fff, 0, 0, 20), RESERVED),
    (Cidr::v6(0x5f00, 0, 0, 16), RESERVED),
    (Cidr::v6(0xfc00, 0, 0, 7), PRIVATE),
    (Cidr::v6(0xfe80, 0, 0, 10), LINK_LOCAL),
    (Cidr::v6(0xfec0, 0, 0, 10), PRIVATE),
    (Cidr::v6(0xff00, 0, 0, 8), MULTICAST),
    // All that is not 2000::/3, from which every public address is given out.
    (Cidr::v6(0, 0, 0, 3), RESERVED),
    (Cidr::v6(0x4000, 0, 0, 2), RESERVED),
    (Cidr::v6(0x8000, 0, 0, 1), RESERVED),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_destination_is_refused_unseen_when_it_names_an_address_that_is() {
        let policy = AddressPolicy::default();
        for refused in ["10.0.0.1:80", "[::1]:443", "[fd00::1]:80", "localhost:8080", "a.localhost:80"] {
            assert!(policy.refusal_of(refused).is_some(), "{refused}");
        }
        for passed in ["1.1.1.1:80", "[2a00::1]:443", "example.com:80", "localhost.example.com:80"] {
            assert_eq!(policy.refusal_of(passed), None, "{passed}");
        }
        let all = AddressPolicy { allow_private: true, ..policy };
        assert_eq!(all.refusal_of("localhost:80"), None);
    }

    /// Addresses that nothing is sent to unless the operator allows it, and what the refusal says they are.
    const NOT_PUBLIC: &[(&str, &str)] = &[
        ("0.0.0.0", RESERVED),
        ("0.1.2.3", RESERVED),
        ("10.0.0.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("127.0.0.1", LOOPBACK),
        ("127.9.9.9", LOOPBACK),
        ("169.254.169.254", LINK_LOCAL),
        ("172.16.0.1", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("192.0.0.170", RESERVED),
        ("192.0.2.1", RESERVED),
        ("192.88.99.1", RESERVED),
        ("192.168.1.1", PRIVATE),
        ("198.19.0.1", RESERVED),
        ("198.51.100.7", RESERVED),
        ("203.0.113.7", RESERVED),
        ("224.0.0.1", MULTICAST),
        ("239.255.255.255", MULTICAST),
        ("240.0.0.1", RESERVED),
        ("255.255.255.255", RESERVED),
        // Metadata services, as they are and inside IPv6.
        ("100.100.100.200", PRIVATE),
        ("168.63.129.16", METADATA),
        ("192.0.0.192", RESERVED),
        ("fd00:ec2::254", PRIVATE),
        ("fd20:ce::254", PRIVATE),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("::ffff:168.63.129.16", METADATA),
        ("64:ff9b::169.254.169.254", LINK_LOCAL),
        ("64:ff9b:1::169.254.169.254", RESERVED),
        ("64:ff9b:1:ffff::8.8.8.8", RESERVED),
        ("64:ff9b::100.64.0.1", PRIVATE),
        ("64:ff9b:0:1::8.8.8.8", RESERVED),
        ("2002:6440:1::", PRIVATE),
        ("2002:a00:1::8.8.8.8", PRIVATE),
        // Teredo: client and server are IPv4 addresses.
        ("2001:0:808:808:0:ffff:f7f7:f7f7", RESERVED),
        ("2001:0:808:808:0:ffff:80ff:fffe", RESERVED),
        ("::8.8.8.8", RESERVED),
        ("1::1", RESERVED),
        ("1fff::1", RESERVED),
        ("4000::1", RESERVED),
        ("8000::1", RESERVED),
        ("fe00::1", RESERVED),
        ("::", RESERVED),
        ("::1", LOOPBACK),
        ("::127.0.0.1", RESERVED),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:10.1.2.3", PRIVATE),
        ("64:ff9b::192.168.1.1", PRIVATE),
        ("64:ff9b:1::1", RESERVED),
        ("100::1", RESERVED),
        ("2001::1", RESERVED),
        ("2001:db8::1", RESERVED),
        ("2002:7f00:1::1", LOOPBACK),
        ("2002:a9fe:a9fe::", LINK_LOCAL),
        ("3fff::1", RESERVED),
        ("fc00::1", PRIVATE),
        ("fd12:3456::1", PRIVATE),
        ("fe80::1", LINK_LOCAL),
        ("fec0::1", PRIVATE),
        ("ff02::1", MULTICAST),
    ];

    #[test]
    fn only_public_addresses_are_allowed_by_default() {
        let policy = AddressPolicy::default();
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "168.63.129.15",
            "168.63.129.17",
            "3ffe::1",
        ] {
            assert!(policy.allows(ip(public)), "{public}");
        }
        for (address, kind) in NOT_PUBLIC {
            let why = policy.refusal(ip(address)).unwrap_or_default();
            assert!(why.contains(kind), "{address}: {why}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_allowed_and_nothing_else() {
        let allowed = ["10.1.0.0/16", "fd00:5::/32", "127.0.0.1"].map(|text| text.parse().unwrap());
        let policy = AddressPolicy { allow_private: false, allowed: allowed.into() };
        for address in ["10.1.255.1", "::ffff:10.1.0.1", "fd00:5::9", "127.0.0.1", "2002:a01:2::"] {
            assert!(policy.allows(ip(address)), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2", "fd00:6::1", "::1"] {
            assert!(!policy.allows(ip(address)), "{address}");
        }
        let all = AddressPolicy { allow_private: true, allowed: Vec::new() };
        assert!(all.allows(ip("169.254.169.254")));
        assert_eq!(
            policy.refusal(ip("10.2.0.1")).unwrap(),
            "10.2.0.1 is in a private range; the operator can allow it with delivery.allowed_targets"
        );
    }

    #[test]
    fn ranges_are_read_and_shown() {
        for (text, shown) in [("10.1.0.0/16", "10.1.0.0/16"), ("10.1.2.3", "10.1.2.3/32"), ("::1", "::1/128")]
        {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), shown);
        }
        for wrong in ["", "10.1.0.0/33", "10.1/16", "fd00::/129", "10.0.0.0/-1", "example.com", "10.0.0.0/"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains(ip("8.8.8.8")));
        assert!(!"0.0.0.0/0".parse::<Cidr>().unwrap().contains(ip("::1")));
        assert!("10.1.9.9/16".parse::<Cidr>().unwrap().contains(ip("10.1.0.1")), "host bits do not matter");
    }
}

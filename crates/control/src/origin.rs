//! Where requests come from, as limits count it.

use std::net::{IpAddr, Ipv6Addr};

/// An address, or the /64 network of an IPv6 address, which one customer has as a whole. All callers whose address the
/// server does not know count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(Option<IpAddr>);

impl From<Option<IpAddr>> for Origin {
    fn from(address: Option<IpAddr>) -> Origin {
        Origin(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_its_ipv4_one() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().ok());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:2"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:127.0.0.1"), origin("127.0.0.1"));
    }
}

//! Networks in CIDR notation (RFC 4632, RFC 4291 §2.3).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 network: `10.0.0.0/8`, `::1` (a bare address is a network of one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The network's address in the IPv6 number space (IPv4 as `::ffff:a.b.c.d`), host bits zero.
    bits: u128,
    /// Length of the prefix in that space: 96 more than written for IPv4.
    length: u8,
}

/// The networks of one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrList(Vec<Cidr>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("`{0}` is not an IP address")]
    Address(String),
    #[error("`{0}` is not a prefix length from 0 to {1}")]
    Length(String, u8),
    #[error("`{0}` has bits set behind its prefix; did you mean {1}?")]
    HostBits(String, Cidr),
}

impl Cidr {
    /// True when the address is in this network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & mask(self.length) == self.bits
    }
}

impl CidrList {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|cidr| cidr.contains(address))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Cidr> for CidrList {
    fn from_iter<I: IntoIterator<Item = Cidr>>(networks: I) -> Self {
        CidrList(networks.into_iter().collect())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address(address.to_owned()))?;
        let (most, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = match length {
            None => most,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|n| *n <= most && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| CidrError::Length(digits.to_owned(), most))?,
        } + offset;
        let written = number(address);
        let cidr = Cidr { bits: written & mask(length), length };
        if cidr.bits != written {
            return Err(CidrError::HostBits(text.to_owned(), cidr));
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.bits);
        match address.to_ipv4_mapped() {
            Some(v4) if self.length >= 96 => write!(f, "{v4}/{}", self.length - 96),
            _ => write!(f, "{address}/{}", self.length),
        }
    }
}

impl fmt::Display for CidrList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, cidr) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            cidr.fmt(f)?;
        }
        Ok(())
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.168.1.0/25", "192.168.1.127", "192.168.1.128"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("::1", "::1", "::2"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ] {
            assert!(contains(network, inside), "{inside} in {network}");
            assert!(!contains(network, outside), "{outside} in {network}");
        }
    }

    #[test]
    fn an_ipv4_network_of_length_zero_holds_every_ipv4_address_and_no_ipv6_address() {
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn an_ipv4_client_on_an_ipv6_listener_is_recognised() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "`` is not an IP address"),
            ("example.com", "`example.com` is not an IP address"),
            ("10.0.0.0/33", "`33` is not a prefix length from 0 to 32"),
            ("10.0.0.0/+8", "`+8` is not a prefix length from 0 to 32"),
            ("10.0.0.0/", "`` is not a prefix length from 0 to 32"),
            ("::/129", "`129` is not a prefix length from 0 to 128"),
            ("10.1.0.0/8", "`10.1.0.0/8` has bits set behind its prefix; did you mean 10.0.0.0/8?"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap_err().to_string(), reason);
        }
    }
}

//! Under which names developers are told what lies inside: lines of source, stacks, what apps write to stderr.
//!
//! A page of any site may have its own name mean 127.0.0.1 once it is loaded (DNS rebinding). The browser then takes this server for
//! that site, and its requests come from this machine like a developer's own. What tells them apart is the name that they ask for.

use http::HeaderValue;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a request that came without TLS from this `peer` (none = a Unix socket) asks for a name that no site can have. From other
/// machines any name will do: who listens to them shows them all of this.
pub fn is_trusted(peer: Option<IpAddr>, host: &HeaderValue) -> bool {
    !peer.is_some_and(|peer| peer.to_canonical().is_loopback()) || host.to_str().is_ok_and(is_local)
}

/// An address, or a name that means this machine or is in no DNS (RFC 6761 §6.2 and §6.3).
fn is_local(host: &str) -> bool {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    matches!(name.rsplit('.').next(), Some("localhost" | "test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_site_can_have_are_trusted_on_this_machine() {
        let trusted = |peer: Option<&str>, host: &'static str| {
            is_trusted(peer.map(|peer| peer.parse().unwrap()), &HeaderValue::from_static(host))
        };
        let own = ["localhost", "LocalHost.:1", "shop.localhost:8000", "shop.test", "127.0.0.1:1", "[::1]:1"];
        let others = [
            "evil.example",
            "localhost.evil.example",
            "nolocalhost",
            "shop.latest",
            "1.2.3.4.evil.example",
            "",
        ];
        for peer in ["127.0.0.1", "127.0.1.1", "::1", "::ffff:127.0.0.1"] {
            for host in own {
                assert!(trusted(Some(peer), host), "{peer} {host}");
            }
            for host in others {
                assert!(!trusted(Some(peer), host), "{peer} {host}");
            }
        }
        assert!(trusted(Some("192.168.0.7"), "laptop.example") && trusted(None, "any.example"));
    }
}

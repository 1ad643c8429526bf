//! TLS: certificates and what follows from them, for those who ask us and those whom we ask. A leaf; HTTP is spoken elsewhere.
//!
//! `pair` reads one certificate with its key, `x509` what stands in it, `sources` which pairs the operator has, `shelf` finds the one for a
//! name, `certificates` holds the shelf that is served from and exchanges it, `acceptor` speaks TLS with it, `acme` gets more of them.

mod acceptor;
pub mod acme;
mod certificates;
mod challenges;
mod client;
mod pair;
mod shelf;
mod sources;
#[cfg(test)]
pub mod testing;
mod x509;

pub use acceptor::{Acceptor, Refused};
pub use certificates::Certificates;
pub use challenges::Challenges;
pub use client::{client, roots};
pub use pair::{PairError, PairFiles};
pub use sources::{SourceError, Sources};

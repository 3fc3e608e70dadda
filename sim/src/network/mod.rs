//! Whole nodes on a simulated network: the shipped front end, keyspace, replication and QUIC in turmoil's hosts.

pub mod clock;
pub mod crypto;
pub mod entropy;
pub mod names;
pub mod packets;
pub mod socket;

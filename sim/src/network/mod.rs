//! Whole nodes on a simulated network: the shipped front end, keyspace, replication and QUIC in turmoil's hosts, with
//! Redis clients that check what they were promised.
//!
//! Must not know how replication works: it sees what clients and operators see, and whether the data agrees. A paused
//! node's packets are all held until it resumes; turmoil cannot stop its work.

mod client;
pub mod clock;
pub mod crypto;
pub mod entropy;
mod history;
mod inspection;
mod machine;
mod messages;
pub mod names;
pub mod record;
mod run;
pub mod socket;
mod workload;
mod world;

pub use run::{run, run_with_stranger};

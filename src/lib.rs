//! swytch: a Redis-compatible, leaderless, multi-writer data store in one binary.
//!
//! Where to start reading: `DESIGN.md`, then the modules in the order in which a SET travels:
//! `cli`, `resp`, `server`, `commands`, `keyspace`, `effects`, `replication`, `cluster`, `observe`.
//! `acl` says who may do what; `commands` ask it.
//! `pubsub` carries what PUBLISH sends past all that.
//! `trace` brings spans of sampled commands to a collector.
//! `tls` is what the connections of clients take their certificates from.
//! `coroutine` lets a thread leave a script that takes too long in the middle.
//! `rdb` is a codec beside the way: only `commands` (for DUMP and RESTORE) and `persistence` (files) use it.

pub mod acl;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config_file;
pub mod coroutine;
pub mod effects;
mod glob;
pub mod keyspace;
pub mod observe;
pub mod persistence;
pub mod planted;
pub mod pubsub;
pub mod rdb;
pub mod replication;
pub mod resp;
pub mod scripting;
pub mod server;
pub mod tls;
pub mod trace;

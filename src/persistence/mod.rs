//! RDB files: the way in and out of a node.
//!
//! A save takes a [`Cut`](crate::keyspace::Cut), which is all data as it is at one moment, and a thread of its own writes it
//! while clients go on. A node loads the file when it starts.
//!
//! Reading order: `format` (the frame of a file), `form` and `convert` (how a key stands in it), `save`, `read`, `load`,
//! `save_points` (when a node saves by itself), `state` (what goes on, and who may ask for what).
//!
//! Architecture invariant: knows the keyspace and the codec of values, no client, no request and no peer. It reads no wall
//! clock; callers pass the time.

mod convert;
mod form;
mod format;
mod load;
mod read;
mod save;
mod save_points;
mod state;

#[cfg(test)]
mod tests;

pub use convert::{from_rdb, to_rdb};
pub use form::UseHint;
pub use load::{LoadError, Loaded};
pub use save::SaveError;
pub use save_points::SavePoints;
pub use state::{Persistence, PersistenceOptions, Refused, Report, Saved};

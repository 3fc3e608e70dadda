//! Stand-in.
mod report;
pub use report::{ClusterReport, MemberReport};

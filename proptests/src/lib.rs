//! Random concurrent histories over bare keyspaces and cores, held against an executable specification.
//!
//! [`Replicas`] is the smallest possible cluster: keyspaces, and a causal broadcast in which every delivery is the test's
//! decision. [`specification`] says what the data must be, from the definitions of `DESIGN.md` alone, without any of the
//! code under test.

pub mod replicas;
pub mod specification;
pub mod writes;

pub use replicas::{Replicas, Step};
pub use writes::{HashWrite, ListWrite, SetWrite, StreamWrite, StringWrite, Write};

//! The Redis serialization protocol: requests in, replies out, RESP2 and RESP3.
//!
//! Sources: the RESP page and the RESP3 specification of the Redis documentation.
//!
//! Architecture invariant: a leaf. Nothing here knows a command, a connection or a key; there is no I/O.

mod arguments;
mod double;
mod inline;
mod lookahead;
mod reply;
mod request;

pub use arguments::Arguments;
pub use double::{format_double, format_fixed};
pub use inline::split_words;
pub use lookahead::look_ahead;
pub use reply::{Protocol, Reply};
pub use request::{Parsed, Parser, ProtocolError};

//! The effect model: what one write is, how writes are named and ordered, and how they look on the wire.
//!
//! An [`Effect`] is the immutable record of what one command did. It is named by a [`Dot`], ordered
//! against concurrent effects by a [`Stamp`], and carries everything its origin had seen as a
//! [`Frontier`]. [`Origin`] hands out names and stamps for the writes of this node.
//!
//! Architecture invariant: nothing here knows a value, what an action does to it, a peer, a socket or RESP. There is
//! no I/O, clock or randomness: time is a number that callers pass in.

mod codec;
mod compaction;
mod dot;
mod effect;
mod frontier;
mod operation;
mod origin;
mod reissue;
mod score;
mod stamp;
mod trace;

pub use codec::{CodecError, Reader, write_bytes, write_varint};
pub use compaction::{Rest, compact};
pub use dot::{Dot, NodeId};
pub use effect::{Effect, MAX_EFFECT_BYTES, Reach, SeenChanges};
pub use frontier::Frontier;
pub use operation::{
    Action, BitAddition, Elements, End, Family, Operation, Operations, OperationsWriter, Overflow, Prints,
    PrintsWriter, Ranges, RangesWriter, Registers, StreamClaim, StreamClaims, StreamId, StreamIds,
};
pub use origin::Origin;
pub use reissue::{Making, Reissue, Sight};
pub use score::{NotANumber, Score};
pub use stamp::{HybridClock, Stamp};
pub use trace::{TraceContext, TraceScope, TracedEffect, current_trace};

//! Streams: what is to be hashed, described before anything is read, so that one pass over a file serves all.
//!
//! A [`Segment`] is a range of a file, bytes in memory, or zeros. A stream is a list of segments, and a
//! [`DigestPlan`] holds streams and computes each one's digests in all banks. Equal streams are hashed once, and
//! a stream that begins with all of another one continues its state: the combined initrd of PCR 9 begins with
//! `.initrd`, which PCR 11 has hashed already.

mod lane;
mod pass;
mod plan;
mod queue;

pub use plan::{DigestPlan, Digests, HashError, MAX_ZEROS, Segment, StreamId};

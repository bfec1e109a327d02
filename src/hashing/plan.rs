//! The plan: streams, found equal or continued, and the order of the passes over their sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pass::{Lane, run_pass};
use crate::source::{Blob, SourceId};
use crate::tcg::{Digest, DigestSet, HashAlgorithm, Hasher};

/// Most zero bytes that one stream may ask for. A section's `VirtualSize` may exceed its data, but firmware has
/// to find that much memory below 4 GiB; more is a made-up header that would only cost time.
const MAX_ZEROS: u64 = 1 << 30;

/// A piece of a stream.
#[derive(Debug, Clone)]
pub enum Segment {
    /// A range of a source, read when its turn comes.
    Range(Blob),
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// So many zero bytes.
    Zeros(u64),
}

impl Segment {
    /// Bytes in memory.
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into().into())
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Range(blob) => blob.len(),
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(count) => *count,
        }
    }

    /// Nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What makes two segments equal without reading them.
    fn key(&self) -> SegmentKey {
        match self {
            Self::Range(blob) => SegmentKey::Range(blob.source_id(), blob.offset(), blob.len()),
            Self::Bytes(bytes) => SegmentKey::Bytes(Arc::clone(bytes)),
            Self::Zeros(count) => SegmentKey::Zeros(*count),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SegmentKey {
    Range(SourceId, u64, u64),
    Bytes(Arc<[u8]>),
    Zeros(u64),
}

/// Names a stream of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(usize);

/// The digests of a plan's streams.
#[derive(Debug, Clone, Default)]
pub struct Digests(Vec<DigestSet>);

impl Digests {
    /// The digests of one stream, in every bank of the plan.
    #[must_use]
    pub fn get(&self, stream: StreamId) -> Option<&DigestSet> {
        self.0.get(stream.0)
    }
}

/// Hashing that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// A source could not be read.
    #[error("reading at offset {offset:#x}: {error}")]
    Read {
        /// Offset in the source, in bytes.
        offset: u64,
        /// The operating system's error.
        #[source]
        error: std::io::Error,
    },
    /// A stream asks for more zeros than any real image has.
    #[error("{count} bytes of zero fill, the limit is {MAX_ZEROS}")]
    TooManyZeros {
        /// Bytes asked for.
        count: u64,
    },
}

/// Streams to be hashed; see the [module](super).
#[derive(Debug, Default)]
pub struct DigestPlan {
    streams: Vec<Stream>,
    known: BTreeMap<(Option<HashAlgorithm>, Vec<SegmentKey>), StreamId>,
}

/// What is hashed, and into which bank if not into all.
#[derive(Debug)]
struct Stream {
    segments: Vec<Segment>,
    only: Option<HashAlgorithm>,
}

impl DigestPlan {
    /// A plan without streams.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stream, or finds the equal one that is there already.
    pub fn add(&mut self, segments: impl IntoIterator<Item = Segment>) -> StreamId {
        self.insert(None, segments)
    }

    /// Adds a stream that is hashed with one algorithm, whatever the banks.
    pub fn add_single(
        &mut self,
        algorithm: HashAlgorithm,
        segments: impl IntoIterator<Item = Segment>,
    ) -> StreamId {
        self.insert(Some(algorithm), segments)
    }

    fn insert(
        &mut self,
        only: Option<HashAlgorithm>,
        segments: impl IntoIterator<Item = Segment>,
    ) -> StreamId {
        let segments: Vec<Segment> = join(segments.into_iter().filter(|segment| !segment.is_empty()));
        let key: Vec<SegmentKey> = segments.iter().map(Segment::key).collect();
        let next = StreamId(self.streams.len());
        let id = *self.known.entry((only, key)).or_insert(next);
        if id == next {
            self.streams.push(Stream { segments, only });
        }
        id
    }

    /// Bytes that [`DigestPlan::compute`] will read, for a progress bar.
    #[must_use]
    pub fn bytes_to_read(&self) -> u64 {
        let mut ranges: BTreeMap<SourceId, Vec<(u64, u64)>> = BTreeMap::new();
        for segment in self.streams.iter().flat_map(|stream| &stream.segments) {
            if let Segment::Range(blob) = segment {
                ranges.entry(blob.source_id()).or_default().push((blob.offset(), blob.offset() + blob.len()));
            }
        }
        ranges.into_values().flat_map(super::pass::union).map(|(start, end)| end - start).sum()
    }

    /// Hashes every stream into each of `banks`. `progress` is told how many bytes were read since the last call.
    ///
    /// # Errors
    /// [`HashError`]; nothing is computed then.
    pub fn compute(
        &self,
        banks: &[HashAlgorithm],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Digests, HashError> {
        for stream in &self.streams {
            let count = stream.segments.iter().map(|segment| match segment {
                Segment::Zeros(count) => *count,
                _ => 0,
            });
            let count = count.fold(0, u64::saturating_add);
            if count > MAX_ZEROS {
                return Err(HashError::TooManyZeros { count });
            }
        }
        Computation::new(self, banks).run(progress)
    }

    /// For each stream the longest other one that it begins with, whole.
    fn parents(&self) -> Vec<Option<usize>> {
        type Key = (Option<HashAlgorithm>, Vec<SegmentKey>);
        let key = |stream: &Stream| (stream.only, stream.segments.iter().map(Segment::key).collect());
        let keys: Vec<Key> = self.streams.iter().map(key).collect();
        let begins_with = |(only, key): &Key, (other, prefix): &Key| {
            only == other && !prefix.is_empty() && prefix.len() < key.len() && key.starts_with(prefix)
        };
        keys.iter()
            .map(|key| {
                let prefixes = keys.iter().enumerate().filter(|(_, prefix)| begins_with(key, prefix));
                prefixes.max_by_key(|(_, (_, prefix))| prefix.len()).map(|(other, _)| other)
            })
            .collect()
    }
}

/// Neighbouring zeros become one, so that streams are equal whenever they are made of the same parts.
fn join(segments: impl Iterator<Item = Segment>) -> Vec<Segment> {
    let mut joined: Vec<Segment> = Vec::new();
    for segment in segments {
        if let (Some(Segment::Zeros(count)), Segment::Zeros(more)) = (joined.last_mut(), &segment) {
            *count = count.saturating_add(*more);
        } else {
            joined.push(segment);
        }
    }
    joined
}

/// One stream under way: how far it is, and its states, one per bank.
struct Progress<'a> {
    segments: &'a [Segment],
    next: usize,
    parent: Option<usize>,
    states: Vec<Hasher>,
}

struct Computation<'a> {
    streams: Vec<Progress<'a>>,
}

impl<'a> Computation<'a> {
    fn new(plan: &'a DigestPlan, banks: &[HashAlgorithm]) -> Self {
        let parents = plan.parents();
        let streams = plan.streams.iter().zip(parents).map(|(stream, parent)| Progress {
            segments: &stream.segments,
            next: 0,
            parent,
            states: match stream.only {
                Some(algorithm) => vec![Hasher::new(algorithm)],
                None => banks.iter().map(|bank| Hasher::new(*bank)).collect(),
            },
        });
        Self { streams: streams.collect() }
    }

    fn run(mut self, progress: &(dyn Fn(u64) + Sync)) -> Result<Digests, HashError> {
        loop {
            self.start_continuations();
            let Some(source) = self.next_source() else { break };
            let mut lanes = self.lanes(source);
            run_pass(&mut lanes, progress)?;
            self.take_back(lanes);
        }
        let finished = self.streams.into_iter();
        Ok(Digests(
            finished
                .map(|stream| stream.states.into_iter().map(Hasher::finish).collect::<Vec<Digest>>())
                .map(DigestSet::from_iter)
                .collect(),
        ))
    }

    /// A stream whose parent is finished takes over its states.
    fn start_continuations(&mut self) {
        loop {
            let ready = self.streams.iter().enumerate().find_map(|(index, stream)| {
                let parent = self.streams.get(stream.parent?)?;
                (parent.parent.is_none() && parent.is_finished())
                    .then(|| (index, parent.states.clone(), parent.segments.len()))
            });
            let Some((index, states, done)) = ready else { return };
            if let Some(stream) = self.streams.get_mut(index) {
                stream.states = states;
                stream.next = done;
                stream.parent = None;
            }
        }
    }

    /// The source that the first stream which can go on waits for. Streams of memory only have a pass of their own.
    fn next_source(&self) -> Option<Option<SourceId>> {
        self.streams
            .iter()
            .filter(|stream| stream.parent.is_none() && !stream.is_finished())
            .map(Progress::waits_for)
            .next()
    }

    /// One lane per stream and bank that can go on over `source`: as many segments as come in ascending order.
    fn lanes(&mut self, source: Option<SourceId>) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            if stream.parent.is_some()
                || stream.is_finished()
                || !(stream.waits_for() == source || stream.waits_for().is_none())
            {
                continue;
            }
            let segments: Arc<[Segment]> = stream.take_run(source).into();
            for (bank, state) in stream.states.drain(..).enumerate() {
                lanes.push(Lane::new((index, bank), Arc::clone(&segments), state));
            }
        }
        lanes
    }

    fn take_back(&mut self, lanes: Vec<Lane>) {
        // Lanes were made stream by stream and bank by bank, so pushing keeps the order of the banks.
        for lane in lanes {
            let ((index, _), state) = lane.into_state();
            if let Some(stream) = self.streams.get_mut(index) {
                stream.states.push(state);
            }
        }
    }
}

impl Progress<'_> {
    fn is_finished(&self) -> bool {
        self.next >= self.segments.len()
    }

    /// The source of the next range, skipping what is in memory; `None` when only memory is left.
    fn waits_for(&self) -> Option<SourceId> {
        self.segments.iter().skip(self.next).find_map(|segment| match segment {
            Segment::Range(blob) => Some(blob.source_id()),
            _ => None,
        })
    }

    /// Takes the next segments, up to the first that lies in another source or before the previous one.
    fn take_run(&mut self, source: Option<SourceId>) -> Vec<Segment> {
        let mut position = 0;
        let mut run = Vec::new();
        for segment in self.segments.iter().skip(self.next) {
            if let Segment::Range(blob) = segment {
                if Some(blob.source_id()) != source || blob.offset() < position {
                    break;
                }
                position = blob.offset() + blob.len();
            }
            run.push(segment.clone());
        }
        self.next += run.len();
        run
    }
}

//! The plan: streams, found equal or continued, and the order of the passes over their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lane::{Lane, union};
use super::pass::run_pass;
use crate::source::{Blob, SourceId};
use crate::tcg::{Digest, DigestSet, HashAlgorithm, Hasher};

/// Most zero bytes that one stream may ask for. A section's `VirtualSize` may exceed its data, but firmware has
/// to find that much memory below 4 GiB; more is a made-up header that would only cost time.
pub const MAX_ZEROS: u64 = 1 << 30;

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
        /// Which source.
        source_id: SourceId,
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

    /// Bytes of one stream.
    #[must_use]
    pub fn length(&self, stream: StreamId) -> u64 {
        let segments = self.streams.get(stream.0).map_or(&[][..], |stream| &stream.segments);
        segments.iter().map(Segment::len).fold(0, u64::saturating_add)
    }

    /// A plan with some of the streams, and what they are called in it.
    #[must_use]
    pub fn subset(
        &self,
        streams: impl IntoIterator<Item = StreamId>,
    ) -> (Self, BTreeMap<StreamId, StreamId>) {
        let mut plan = Self::new();
        let mut names = BTreeMap::new();
        for id in streams {
            if let Some(stream) = self.streams.get(id.0) {
                names.insert(id, plan.insert(stream.only, stream.segments.iter().cloned()));
            }
        }
        (plan, names)
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
        ranges.into_values().flat_map(union).map(|(start, end)| end - start).sum()
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
        let known: BTreeMap<(Option<HashAlgorithm>, &[SegmentKey]), usize> =
            keys.iter().enumerate().map(|(index, (only, key))| ((*only, key.as_slice()), index)).collect();
        // Few lengths occur, so only prefixes of those lengths are looked up.
        let lengths: BTreeSet<usize> = keys.iter().map(|(_, key)| key.len()).collect();
        let parent = |(only, key): &Key| {
            let shorter = lengths.range(1..key.len().max(1)).rev();
            shorter.filter_map(|length| known.get(&(*only, key.get(..*length)?)).copied()).next()
        };
        keys.iter().map(parent).collect()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha1, HashAlgorithm::Sha512];

    /// The same digests by hashing the concatenated bytes in one go.
    fn check(sources: &[Vec<u8>], streams: &[Vec<(usize, u64, u64)>]) {
        let blobs: Vec<Blob> = sources.iter().map(|bytes| Blob::from_bytes(bytes.clone())).collect();
        let mut plan = DigestPlan::new();
        let mut expected = Vec::new();
        for stream in streams {
            let mut segments = Vec::new();
            let mut bytes = Vec::new();
            for (kind, start, length) in stream {
                match blobs.get(*kind) {
                    Some(blob) => {
                        let start = start % (blob.len() + 1);
                        let length = (*length).min(blob.len() - start);
                        segments.push(Segment::Range(blob.slice(start, length).expect("inside")));
                        bytes.extend_from_slice(&sources[*kind][start as usize..(start + length) as usize]);
                    }
                    None => {
                        segments.push(Segment::Zeros(length % 1000));
                        segments.push(Segment::bytes(start.to_le_bytes()));
                        bytes.resize(bytes.len() + (length % 1000) as usize, 0);
                        bytes.extend_from_slice(&start.to_le_bytes());
                    }
                }
            }
            expected.push((plan.add(segments), DigestSet::of(&bytes, &BANKS)));
        }
        let digests = plan.compute(&BANKS, &|_| ()).expect("memory can be read");
        for (stream, digest) in expected {
            assert_eq!(digests.get(stream), Some(&digest));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_plan_hashes_what_its_segments_say(
            lengths in prop::collection::vec(0_usize..700_000, 1..3),
            streams in prop::collection::vec(prop::collection::vec((0_usize..3, any::<u64>(), 0_u64..600_000), 0..6), 0..8),
        ) {
            let sources: Vec<Vec<u8>> =
                lengths.iter().map(|length| (0..*length).map(|n| (n * 31 % 251) as u8).collect()).collect();
            check(&sources, &streams);
        }
    }

    #[test]
    fn a_stream_that_begins_with_another_continues_it() {
        let source: Vec<u8> = (0..900_000_u32).map(|n| n as u8).collect();
        let whole = (0, 0, 900_000);
        check(&[source], &[vec![whole, (9, 1, 2)], vec![whole], vec![whole, (9, 1, 2), (0, 5, 10)], vec![]]);
    }

    #[test]
    fn a_source_that_fails_is_an_error_and_not_a_hang() {
        struct Broken;
        impl crate::source::ReadAt for Broken {
            fn length(&self) -> u64 {
                10 << 20
            }
            fn read_exact_at(&self, offset: u64, _: &mut [u8]) -> std::io::Result<()> {
                if offset < 5 << 20 { Ok(()) } else { Err(std::io::Error::other("broken")) }
            }
        }
        let mut plan = DigestPlan::new();
        plan.add([Segment::Range(Blob::new(Arc::new(Broken)))]);
        let error = plan.compute(&BANKS, &|_| ()).expect_err("the source is broken");
        assert!(matches!(error, HashError::Read { offset, .. } if offset >= 5 << 20), "{error}");
    }
}

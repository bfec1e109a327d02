//! The archives that systemd-stub makes for the initrd, byte for byte (systemd `cpio.c`).
//!
//! Format "newc" of cpio: each record has 13 fields of 8 hexadecimal digits behind the magic, a name, and data, the
//! latter two padded to 4 bytes. Times, owners and links are always the same, so an archive is determined by its
//! folder, modes, and the files' names and contents.

use crate::hashing::Segment;

/// A folder of the initrd into which the stub puts files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Path without leading slash.
    pub(super) folder: &'static str,
    /// Permission bits of the last folder.
    pub(super) folder_mode: u32,
    /// Permission bits of the files.
    pub(super) file_mode: u32,
}

/// A file too large for the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {length} bytes do not fit into a cpio archive, the limit is 4 GiB")]
pub struct FileTooLarge {
    name: String,
    length: u64,
}

/// An archive under construction: segments, so that the files' contents are not read yet.
#[derive(Debug)]
pub(super) struct Archive {
    target: Target,
    segments: Vec<Segment>,
    inode: u32,
    length: u64,
    /// Every file brings the records of its folders along.
    repeats_folders: bool,
}

/// `S_IFDIR` and `S_IFREG`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// Permission bits of every folder but the last.
const OUTER_MODE: u32 = 0o555;

impl Archive {
    /// An archive with the records of the folder and those around it.
    pub(super) fn new(target: Target) -> Self {
        let mut archive = Self { target, segments: Vec::new(), inode: 0, length: 0, repeats_folders: false };
        archive.folders();
        archive
    }

    /// An archive as systemd-boot makes it of an entry's files: folders stand before each file, and inodes go on from
    /// `inode`.
    pub(super) fn of_entry(target: Target, inode: u32) -> Self {
        Self { target, segments: Vec::new(), inode, length: 0, repeats_folders: true }
    }

    /// The last inode that was given.
    pub(super) fn inode(&self) -> u32 {
        self.inode
    }

    fn folders(&mut self) {
        let folder = self.target.folder;
        for (end, _) in folder.match_indices('/').chain([(folder.len(), "")]) {
            let mode = if end == folder.len() { self.target.folder_mode } else { OUTER_MODE };
            self.record(folder.split_at(end).0, DIRECTORY | mode, 0);
        }
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, content: Vec<Segment>) -> Result<(), FileTooLarge> {
        let length: u64 = content.iter().map(Segment::len).sum();
        let size = u32::try_from(length).map_err(|_| FileTooLarge { name: name.to_owned(), length })?;
        if self.repeats_folders {
            self.folders();
        }
        self.record(&format!("{}/{name}", self.target.folder), REGULAR | self.target.file_mode, size);
        self.segments.extend(content);
        self.length += length;
        self.pad();
        Ok(())
    }

    /// The archive's bytes, as parts of a stream; its length is a multiple of 4.
    pub(super) fn finish(mut self) -> Vec<Segment> {
        // systemd writes this record from a constant: one link, and the only upper-case digit of the archive.
        const TRAILER: &str = "070701\
            00000000000000000000000000000000\
            00000001000000000000000000000000\
            0000000000000000000000000000000B00000000\
            TRAILER!!!\0\0\0\0";
        self.push(TRAILER.as_bytes().to_vec());
        self.segments
    }

    fn record(&mut self, name: &str, mode: u32, size: u32) {
        self.inode += 1;
        let name_size = name.len() + 1;
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}{name}\0",
            self.inode, 0, 0, 1, 0, 0, 0, 0, 0, 0,
        );
        self.push(header.into_bytes());
        self.pad();
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.length += bytes.len() as u64;
        self.segments.push(Segment::bytes(bytes));
    }

    fn pad(&mut self) {
        let padding = self.length.next_multiple_of(4) - self.length;
        self.segments.push(Segment::Zeros(padding));
        self.length += padding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing::DigestPlan;
    use crate::tcg::HashAlgorithm;

    fn digest(archive: Archive) -> (u64, String) {
        let segments = archive.finish();
        let length = segments.iter().map(Segment::len).sum();
        let mut plan = DigestPlan::new();
        let stream = plan.add(segments);
        let digests = plan.compute(&[HashAlgorithm::Sha256], &|_| ()).expect("memory only");
        let digest = digests.get(stream).and_then(|set| set.get(HashAlgorithm::Sha256)).expect("the bank");
        (length, digest.to_string())
    }

    /// Witness: systemd's own `cpio.c`, compiled natively.
    #[test]
    fn archives_equal_those_of_systemd() {
        let credentials = Target { folder: ".extra/credentials", folder_mode: 0o500, file_mode: 0o400 };
        let mut archive = Archive::new(credentials);
        archive.file("a.cred", vec![Segment::bytes(*b"hello")]).expect("small");
        archive.file("b.cred", vec![Segment::bytes(*b"worldwide")]).expect("small");
        let expected = "6c9e3cdd19ba734289d4cb05108ad121af3d17c087ad0f9a218ab37c7d9ee892";
        assert_eq!(digest(archive), (668, expected.to_owned()));

        let mut archive = Archive::new(Target { folder: ".extra", folder_mode: 0o555, file_mode: 0o444 });
        archive.file("tpm2-pcr-signature.json", vec![Segment::bytes(*b"{}")]).expect("small");
        let expected = "d61dc2ae972d07e66c8830e35aa4d9b027427beadf88662b452be1a7bc601414";
        assert_eq!(digest(archive), (392, expected.to_owned()));
    }
}

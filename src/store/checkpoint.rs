//! Checkpoints: all that a later process needs to resume an upload. Pure but for random names; both stores write them.
//!
//! A checkpoint is a small object `_telelake/uploads/<hash of the key>-<id>.json`. It names the parts that are stored
//! without a gap, with the state of the SHA-256 and of the walk over the MP4's boxes behind the last of them. So the hash
//! and the boxes of the whole object are known in the end, although no process has seen all bytes. It holds no link and
//! nothing personal.

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

use super::Version;
use crate::config::Checksum;
use crate::mp4::BoxWalker;

/// The folder of the checkpoints.
pub(super) const UPLOADS: &str = "_telelake/uploads/";
/// The version of a checkpoint's shape and of the hash's state, which another major version of its crate may write
/// differently.
const VERSION: u32 = 2;

/// The source of an upload's bytes. The store keeps it with the upload and compares nothing: the caller decides if the
/// source is still the same. It holds nothing personal and no link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The caller's name for the state of the thing that is copied.
    pub of: String,
    /// The source's `ETag`, as it sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The size of the whole in bytes, if the source told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// The progress of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    /// The upload's own id, which never changes.
    pub(super) id: String,
    /// The key of the object that it becomes.
    pub(super) key: String,
    /// The claim of the process that drives it; none after it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    /// The store's id of the upload, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<String>,
    /// The bytes of a part; the last part may have fewer.
    pub(super) part_size: u64,
    /// The checksum that its parts are sent with.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) checksum: Checksum,
    pub(super) source: Source,
    /// The bytes stored without a gap, from the first byte on.
    pub(super) bytes: u64,
    /// The parts that hold them, in order; a folder has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Part>,
    /// The digest of these bytes.
    #[serde(flatten)]
    digest: DigestState,
    /// The SHA-256 of the whole, once all of it is stored and only its name is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) finished: Option<String>,
}

/// A checkpoint as an object of the store.
#[derive(Debug, Clone)]
pub(super) struct StoredCheckpoint {
    pub(super) key: String,
    pub(super) version: Version,
    pub(super) modified: Option<chrono::DateTime<chrono::Utc>>,
    /// The content; none if it is damaged.
    pub(super) content: Option<Checkpoint>,
}

impl StoredCheckpoint {
    /// The sort key that puts the furthest checkpoint first: the one to resume.
    pub(super) fn furthest_first(&self) -> std::cmp::Reverse<Option<(bool, u64)>> {
        let content = self.content.as_ref();
        std::cmp::Reverse(content.map(|content| (content.finished.is_some(), content.bytes)))
    }

    /// The key of the object that its upload becomes, or its own key if it is damaged.
    pub(super) fn object_key(&self) -> &str {
        self.content.as_ref().map_or(&self.key, |content| &content.key)
    }
}

/// The digest of the bytes that have streamed by: their SHA-256, and the MP4 boxes among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Digester {
    sha256: Sha256,
    boxes: BoxWalker,
}

/// A [`Digester`] in the form that a checkpoint keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DigestState {
    /// The hash's state, in hex.
    hash: String,
    boxes: BoxWalker,
}

impl Digester {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.boxes.take(bytes);
    }

    /// The SHA-256 of the bytes, in hex.
    pub(super) fn sha256(self) -> String {
        hex::encode(self.sha256.finalize())
    }

    /// The boxes so far.
    pub(super) fn boxes(&self) -> &BoxWalker {
        &self.boxes
    }

    /// The state from which another digester can go on.
    pub(super) fn state(&self) -> DigestState {
        DigestState {
            hash: hex::encode(self.sha256.serialize()),
            boxes: self.boxes.clone(),
        }
    }
}

impl DigestState {
    /// The digester in this state; none if the state is damaged.
    fn digester(&self) -> Option<Digester> {
        let bytes = hex::decode(&self.hash).ok()?;
        let state = SerializedState::<Sha256>::try_from(&*bytes).ok()?;
        Some(Digester {
            sha256: Sha256::deserialize(&state).ok()?,
            boxes: self.boxes.clone(),
        })
    }
}

/// A stored part of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) etag: String,
    pub(super) bytes: u64,
    /// The checksum, if the upload was created with one. It is kept because the request that completes the upload must
    /// name it, and no listing gives it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<String>,
}

impl Checkpoint {
    /// The checkpoint of an upload that has stored nothing yet.
    pub(super) fn new(key: &str, part_size: u64, source: Source) -> Self {
        Self {
            version: VERSION,
            id: random_id(),
            key: key.to_owned(),
            driver: None,
            upload: None,
            part_size,
            checksum: Checksum::None,
            source,
            bytes: 0,
            parts: Vec::new(),
            digest: Digester::default().state(),
            finished: None,
        }
    }

    /// The key of the checkpoint's own object.
    pub(super) fn own_key(&self) -> String {
        format!("{}{}.json", checkpoints_of(&self.key), self.id)
    }

    /// The content of the checkpoint's object.
    pub(super) fn to_bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Parses a checkpoint's object; none if it is damaged, of another version, or contradicts itself.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let found: Self = serde_json::from_slice(bytes).ok()?;
        let numbered = found.parts.iter().zip(1..).all(|(part, n)| part.number == n);
        let sum: u64 = found.parts.iter().map(|part| part.bytes).sum();
        let sound = found.version == VERSION
            && numbered
            && (found.parts.is_empty() || sum == found.bytes)
            && (found.finished.is_some() || found.digest.boxes.at() == found.bytes)
            && found.digester().is_some();
        sound.then_some(found)
    }

    /// Adds the next part.
    pub(super) fn add(&mut self, part: Part, digest: DigestState) {
        self.stored(self.bytes + part.bytes, digest);
        self.parts.push(part);
    }

    /// Sets the bytes that are stored by now, with their digest.
    pub(super) fn stored(&mut self, bytes: u64, digest: DigestState) {
        self.bytes = bytes;
        self.digest = digest;
    }

    /// The digester behind the stored bytes.
    pub(super) fn digester(&self) -> Option<Digester> {
        self.digest.digester()
    }

    /// True if a digester has seen the stored bytes and no others.
    pub(super) fn is_at(&self, digester: &Digester) -> bool {
        self.digest == digester.state()
    }
}

/// The prefix of the checkpoints of an object's uploads. It has no folder per object, so that no empty folders stay.
pub(super) fn checkpoints_of(key: &str) -> String {
    let hash = hex::encode(Sha256::digest(key.as_bytes()));
    format!("{UPLOADS}{}-", &hash[..32])
}

fn is_none(checksum: &Checksum) -> bool {
    *checksum == Checksum::None
}

/// A random id, 32 hex digits.
pub(super) fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let source = Source {
            of: "2026-11-20T10:00:00+00:00 9".into(),
            etag: Some("\"e\"".into()),
            total: Some(9),
        };
        Checkpoint::new("media/урок.mp4", 4, source)
    }

    fn part(number: i32) -> Part {
        Part {
            number,
            etag: format!("\"{number}\""),
            bytes: 4,
            checksum: None,
        }
    }

    /// A file of 16 bytes: two boxes.
    const FILE: &[u8; 16] = b"\0\0\0\x08ftyp\0\0\0\x08moov";

    #[test]
    fn hash_and_boxes_continue_from_the_checkpoint() {
        let mut digester = Digester::default();
        let mut note = checkpoint();
        for (number, bytes) in (1..).zip(FILE[..12].chunks(4)) {
            digester.update(bytes);
            note.add(part(number), digester.state());
        }
        let found = Checkpoint::parse(&note.to_bytes()).expect("sound");
        assert_eq!(found, note);
        assert_eq!(found.bytes, 12);
        assert!(found.is_at(&digester) && !found.is_at(&Digester::default()));
        let mut resumed = found.digester().expect("a state");
        assert!(resumed.boxes().flaw().is_some(), "cut within a header");
        resumed.update(&FILE[12..]);
        assert_eq!(resumed.boxes().flaw(), None);
        assert_eq!(resumed.sha256(), hex::encode(Sha256::digest(FILE)));
    }

    #[test]
    fn a_checkpoint_that_contradicts_itself_is_refused() {
        let mut note = checkpoint();
        let mut digester = Digester::default();
        digester.update(&FILE[..4]);
        note.add(part(1), digester.state());
        let sound = serde_json::to_value(&note).unwrap();
        let spoilt = |field: &str, value: serde_json::Value| {
            let mut object = sound.clone();
            object[field] = value;
            Checkpoint::parse(object.to_string().as_bytes()).is_none()
        };
        assert!(!spoilt("key", "other".into()));
        assert!(spoilt("version", 1.into()), "it knew of no boxes");
        assert!(spoilt("version", 3.into()));
        assert!(spoilt("bytes", 5.into()));
        assert!(spoilt("hash", "00".into()));
        assert!(spoilt("hash", "zz".into()));
        assert!(spoilt("boxes", serde_json::Value::Null));
        assert!(spoilt(
            "boxes",
            serde_json::to_value(BoxWalker::default()).unwrap()
        ));
        assert!(spoilt(
            "parts",
            serde_json::json!([{"number": 2, "etag": "", "bytes": 4}])
        ));
        assert!(Checkpoint::parse(&note.to_bytes()[..40]).is_none());
    }

    #[test]
    fn objects_whose_keys_begin_alike_share_no_checkpoints() {
        assert_ne!(checkpoints_of("a/b"), checkpoints_of("a/b.mp4"));
        let prefix = checkpoints_of("media/урок.mp4");
        assert!(checkpoint().own_key().starts_with(&prefix));
    }
}

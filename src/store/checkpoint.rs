//! Checkpoints: what a later process needs to go on with an upload. Pure but for random names; both stores write them.
//!
//! One is a small object `_telelake/uploads/<hash of the key>-<id>.json`. It names the parts that are stored whole,
//! without a gap, and the states of the SHA-256 and of the walk over the MP4's boxes behind the last of them, so that in
//! the end the whole's hash and boxes are known although no process has seen all bytes. It holds no link and nothing
//! personal.

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest, Sha256};

use super::upload::Source;
use crate::config::Checksum;
use crate::mp4::BoxWalker;

/// Where checkpoints lie.
pub(super) const UPLOADS: &str = "_telelake/uploads/";
/// Of the shape, and of the hash's state: another major version of its crate may write that differently.
const VERSION: u32 = 2;

/// How far an upload has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    /// The upload's own name, for good.
    pub(super) id: String,
    /// The key of the object that it becomes.
    pub(super) key: String,
    /// The claim of the process that drives it; none when it was let go of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    /// The store's name for it, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<String>,
    /// Bytes of a part; the last one may have fewer.
    pub(super) part_size: u64,
    /// The checksum that its parts are sent with.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) checksum: Checksum,
    pub(super) source: Source,
    /// Bytes stored whole, from the first one on.
    pub(super) bytes: u64,
    /// The parts that hold them, in order; a folder has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Part>,
    /// What is known of these bytes.
    #[serde(flatten)]
    digest: DigestState,
    /// The SHA-256 of the whole, once all of it is stored and only its name is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) finished: Option<String>,
}

/// What is known of the bytes that have streamed by: their SHA-256, and the MP4 boxes among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Digester {
    sha256: Sha256,
    boxes: BoxWalker,
}

/// A [`Digester`] as a checkpoint keeps it.
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

    /// Its state, to go on with.
    pub(super) fn state(&self) -> DigestState {
        DigestState {
            hash: hex::encode(self.sha256.serialize()),
            boxes: self.boxes.clone(),
        }
    }
}

impl DigestState {
    /// The digester in this state; none when the state is damaged.
    fn digester(&self) -> Option<Digester> {
        let bytes = hex::decode(&self.hash).ok()?;
        let state = SerializedState::<Sha256>::try_from(&*bytes).ok()?;
        Some(Digester {
            sha256: Sha256::deserialize(&state).ok()?,
            boxes: self.boxes.clone(),
        })
    }
}

/// A part that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) etag: String,
    pub(super) bytes: u64,
    /// Its checksum, where the upload was created with one: completing must name it, and no listing gives it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<String>,
}

impl Checkpoint {
    /// Of an upload that has stored nothing yet.
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

    /// The key of its object.
    pub(super) fn note_key(&self) -> String {
        format!("{}{}.json", notes_of(&self.key), self.id)
    }

    /// What lies in its object.
    pub(super) fn to_bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The checkpoint in an object; none when it is damaged, of another version, or contradicts itself.
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

    /// Takes the next part in.
    pub(super) fn add(&mut self, part: Part, digest: DigestState) {
        self.stored(self.bytes + part.bytes, digest);
        self.parts.push(part);
    }

    /// Takes note of what is stored by now.
    pub(super) fn stored(&mut self, bytes: u64, digest: DigestState) {
        self.bytes = bytes;
        self.digest = digest;
    }

    /// The digester behind the stored bytes, to go on with.
    pub(super) fn digester(&self) -> Option<Digester> {
        self.digest.digester()
    }

    /// Whether a digester is in the state that the stored bytes leave it in.
    pub(super) fn is_at(&self, digester: &Digester) -> bool {
        self.digest == digester.state()
    }
}

/// What the checkpoints' keys of one object's uploads begin with: flat, so that a folder keeps no empty folders.
pub(super) fn notes_of(key: &str) -> String {
    let hash = hex::encode(Sha256::digest(key.as_bytes()));
    format!("{UPLOADS}{}-", &hash[..32])
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_none(checksum: &Checksum) -> bool {
    *checksum == Checksum::None
}

/// A name that no other one has.
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
        Checkpoint::new("recordings/урок.mp4", 4, source)
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
    fn hash_and_boxes_go_on_where_the_checkpoint_stands() {
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
    fn what_contradicts_itself_is_no_checkpoint() {
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
    fn keys_that_begin_alike_share_no_notes() {
        assert_ne!(notes_of("a/b"), notes_of("a/b.mp4"));
        assert!(
            checkpoint()
                .note_key()
                .starts_with(&notes_of("recordings/урок.mp4"))
        );
    }
}

//! Tells if an MP4 file is whole: [`BoxWalker`] reads the headers of its boxes while the bytes stream by. Pure. The store
//! keeps its state with an upload, the pipeline asks it before a recording counts as done, and `verify --deep` again.
//!
//! An ISO media file is a row of boxes. A header is a 32-bit size and a type; size 1 means that a 64-bit size follows,
//! size 0 that the box goes to the end of the file. The content of a box is skipped, so the walk costs nothing, however
//! large a file is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The bytes of a box's header, its size and type, by which an MP4 is recognized.
pub const HEAD: usize = 8;
/// The bytes of a header with a 64-bit size.
const LONG_HEAD: usize = 16;
/// The rest of a box that goes to the end of the file.
const TO_THE_END: u64 = u64::MAX;
/// The types of boxes that an ISO media file may begin with.
const FIRST_BOXES: [&[u8; 4]; 8] = [
    b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot",
];

/// True if the bytes begin as an MP4 does. False for fewer than [`HEAD`] bytes.
pub fn is_mp4(bytes: &[u8]) -> bool {
    let kind = bytes.get(4..HEAD);
    kind.is_some_and(|kind| FIRST_BOXES.iter().any(|known| known[..] == *kind))
}

/// Walks the top-level boxes of a file whose bytes come in pieces of any size. The state can be stored, so that another
/// process continues the walk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxWalker {
    /// The bytes seen.
    at: u64,
    /// The bytes of the current box that are still to come; [`TO_THE_END`] if it goes to the end of the file.
    left: u64,
    /// The current box's type.
    kind: [u8; 4],
    /// The bytes of the next box's header that have come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    header: Vec<u8>,
    has_moov: bool,
    /// A flaw that no further bytes can mend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flaw: Option<Flaw>,
}

/// The reason why a file is no whole MP4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    /// The file does not begin as an MP4.
    NoMp4,
    /// A box's size is less than that of its own header.
    Size {
        /// The position of the box.
        begin: u64,
    },
    /// A box ends behind the file.
    Beyond {
        /// The box's type.
        kind: [u8; 4],
        /// The end of the box.
        end: u64,
        /// The end of the file.
        at: u64,
    },
    /// The file ends within a box's header.
    Header {
        /// The end of the file.
        at: u64,
    },
    /// There is no `moov`, the box that tells where picture and sound lie.
    NoMoov,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMp4 => f.write_str("no MP4"),
            Self::Size { begin } => {
                write!(
                    f,
                    "no whole MP4: the box at byte {begin} is shorter than its header"
                )
            }
            Self::Beyond { kind, end, at } => {
                let kind = kind.escape_ascii();
                write!(
                    f,
                    "no whole MP4: its box `{kind}` ends at byte {end}, the file at {at}"
                )
            }
            Self::Header { at } => {
                write!(
                    f,
                    "no whole MP4: it ends at byte {at}, within the header of a box"
                )
            }
            Self::NoMoov => f.write_str("no whole MP4: it has no box `moov`, so that nothing can play it"),
        }
    }
}

impl BoxWalker {
    /// The bytes seen.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Takes the next bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.left {
                0 => self.take_header(bytes),
                left => self.skip(left, bytes.len()),
            };
            self.at += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Skips bytes of the current box, and returns their number.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        if left != TO_THE_END {
            self.left -= taken as u64;
        }
        taken
    }

    /// Takes bytes of a header, and returns their number.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let wanted = match self.header.get(..4) {
            Some([0, 0, 0, 1]) => LONG_HEAD,
            _ => HEAD,
        };
        let taken = (wanted - self.header.len()).min(bytes.len());
        self.header.extend_from_slice(&bytes[..taken]);
        self.open_box(self.at + taken as u64);
        taken
    }

    /// Opens the box whose header ends at `at`, if the header is complete.
    fn open_box(&mut self, at: u64) {
        let (Some(size), Some(kind)) = (self.header.first_chunk(), self.header.get(4..HEAD)) else {
            return;
        };
        let size = match (u32::from_be_bytes(*size), self.header.last_chunk()) {
            (0, _) => None,
            (1, Some(long)) if self.header.len() == LONG_HEAD => Some(u64::from_be_bytes(*long)),
            (1, _) => return,
            (size, _) => Some(u64::from(size)),
        };
        self.kind.copy_from_slice(kind);
        let length = self.header.len() as u64;
        self.left = match size.map(|size| size.checked_sub(length)) {
            None => TO_THE_END,
            Some(Some(left)) => left.min(TO_THE_END - 1),
            Some(None) => self.spoil(Flaw::Size { begin: at - length }),
        };
        if at == length && !is_mp4(&self.header) {
            self.left = self.spoil(Flaw::NoMp4);
        }
        self.has_moov |= self.kind == *b"moov";
        self.header.clear();
    }

    /// Gives the file up, so that no further box is read.
    fn spoil(&mut self, flaw: Flaw) -> u64 {
        self.flaw = Some(flaw);
        TO_THE_END
    }

    /// The reason why a file that ends here is no whole MP4; none if it is whole.
    pub fn flaw(&self) -> Option<Flaw> {
        if self.flaw.is_some() {
            return self.flaw.clone();
        }
        let at = self.at;
        if at < HEAD as u64 {
            Some(Flaw::NoMp4)
        } else if !self.header.is_empty() {
            Some(Flaw::Header { at })
        } else if !matches!(self.left, 0 | TO_THE_END) {
            let (kind, end) = (self.kind, at.saturating_add(self.left));
            Some(Flaw::Beyond { kind, end, at })
        } else {
            (!self.has_moov).then_some(Flaw::NoMoov)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn short(kind: &str, content: usize) -> Vec<u8> {
        let size = u32::try_from(8 + content).unwrap();
        [&size.to_be_bytes()[..], kind.as_bytes(), &vec![7; content]].concat()
    }

    fn long(kind: &str, content: usize) -> Vec<u8> {
        let size = 16 + content as u64;
        [
            &[0, 0, 0, 1],
            kind.as_bytes(),
            &size.to_be_bytes(),
            &vec![7; content],
        ]
        .concat()
    }

    fn endless(kind: &str, content: usize) -> Vec<u8> {
        [&[0; 4], kind.as_bytes(), &vec![7; content]].concat()
    }

    fn flaw(file: &[u8]) -> Option<String> {
        let mut walker = BoxWalker::default();
        walker.take(file);
        assert_eq!(walker.at(), file.len() as u64);
        walker.flaw().map(|flaw| flaw.to_string())
    }

    #[test]
    fn a_file_is_whole_wherever_its_moov_box_stands() {
        let (ftyp, moov) = (short("ftyp", 12), short("moov", 100));
        for file in [
            [&ftyp[..], &moov, &short("mdat", 1000)].concat(),
            [&ftyp[..], &long("mdat", 1000), &moov].concat(),
            [&ftyp[..], &moov, &endless("mdat", 1000)].concat(),
            [&ftyp[..], &moov, &short("free", 0)].concat(),
            [
                &ftyp[..],
                &moov,
                &short("moof", 10),
                &short("mdat", 10),
                &short("moof", 10),
                &long("mdat", 10),
                &short("mfra", 5),
            ]
            .concat(),
            [&short("wide", 0)[..], &short("mdat", 10), &moov].concat(),
        ] {
            assert_eq!(flaw(&file), None);
        }
    }

    #[test]
    fn the_flaw_of_a_cut_file_names_the_position() {
        let fast_start = [
            short("ftyp", 12),
            short("moov", 100),
            short("mdat", 1000),
            short("free", 8),
        ]
        .concat();
        let texts = [
            flaw(&fast_start[..20]),
            flaw(&fast_start[..100]),
            flaw(&fast_start[..fast_start.len() * 2 / 5]),
            flaw(&fast_start[..fast_start.len() - 9]),
            flaw(&[short("ftyp", 12), endless("mdat", 90)].concat()),
            flaw(&[short("ftyp", 12), vec![0, 0, 0, 7], b"moov".to_vec()].concat()),
            flaw(&[short("ftyp", 12), vec![0, 0, 0, 1], b"moov".to_vec(), vec![0; 8]].concat()),
            flaw(b"<html><head>"),
            flaw(b"\0\0\0"),
            flaw(b""),
        ];
        let texts = texts.map(|text| text.expect("a flaw"));
        insta::assert_snapshot!(texts.join("\n"), @r"
        no whole MP4: it has no box `moov`, so that nothing can play it
        no whole MP4: its box `moov` ends at byte 128, the file at 100
        no whole MP4: its box `mdat` ends at byte 1136, the file at 460
        no whole MP4: it ends at byte 1143, within the header of a box
        no whole MP4: it has no box `moov`, so that nothing can play it
        no whole MP4: the box at byte 20 is shorter than its header
        no whole MP4: the box at byte 20 is shorter than its header
        no MP4
        no MP4
        no MP4
        ");
    }

    /// Files of boxes of all forms, whole or cut anywhere.
    fn files() -> impl Strategy<Value = Vec<u8>> {
        let kinds = proptest::sample::select(vec!["ftyp", "moov", "mdat", "free", "moof"]);
        let boxes = proptest::collection::vec((kinds, 0_usize..60, 0_u8..8), 0..6);
        (boxes, any::<proptest::sample::Index>(), any::<bool>()).prop_map(|(boxes, cut, whole)| {
            let of = |(kind, content, form): (&str, usize, u8)| match form {
                0 => long(kind, content),
                1 => endless(kind, content),
                2 => vec![0, 0, 0, 3],
                _ => short(kind, content),
            };
            let mut file: Vec<u8> = boxes.into_iter().flat_map(of).collect();
            if !whole {
                file.truncate(cut.index(file.len() + 1));
            }
            file
        })
    }

    proptest! {
        #[test]
        fn the_walk_does_not_depend_on_the_pieces(
            file in files(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        ) {
            let mut whole = BoxWalker::default();
            whole.take(&file);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(file.len() + 1)).collect();
            cuts.extend([0, file.len()]);
            cuts.sort_unstable();
            let mut walker = BoxWalker::default();
            for piece in cuts.windows(2) {
                walker.take(&file[piece[0]..piece[1]]);
                // As if another process continued from the stored state.
                let stored = serde_json::to_string(&walker).unwrap();
                walker = serde_json::from_str(&stored).unwrap();
            }
            prop_assert_eq!(walker, whole);
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut walker = BoxWalker::default();
            walker.take(&bytes);
            prop_assert_eq!(walker.at(), bytes.len() as u64);
            let _ = walker.flaw().map(|flaw| flaw.to_string());
        }

        #[test]
        fn a_cut_fast_start_file_is_whole_only_between_its_boxes(content in 1_usize..300, cut in 0_usize..700) {
            let parts = [short("ftyp", 12), short("moov", content), short("mdat", content)];
            let file = parts.concat();
            let cut = cut.min(file.len());
            let ends = [parts[..2].concat().len(), file.len()];
            prop_assert_eq!(flaw(&file[..cut]).is_none(), ends.contains(&cut));
        }
    }
}

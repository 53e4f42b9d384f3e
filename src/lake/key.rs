//! Object keys: the place of every object, relative to the store's URL. Pure.
//!
//! Ids come from the vendor and are opaque. [`segment`] turns any id into one path segment, so that no id can leave its
//! folder.

use chrono::NaiveDate;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::config::ReportFormat;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};

/// The program's own objects: manifests, runs, the description of the store.
pub const STATE: &str = "_telelake/";
/// The day manifests.
pub const DAYS: &str = "_telelake/days/";
/// The recordings. Tables have folders of their own, in which nothing but Parquet lies.
pub const MEDIA: &str = "media/";
/// The markers of open days, which have something pending or failed.
pub const OPEN_DAYS: &str = "_telelake/open/";
/// The runs' summaries.
pub const RUNS: &str = "_telelake/runs/";
/// The latest lines of the runs' logs.
pub const RUN_LOGS: &str = "_telelake/logs/";
/// The leases of writing processes, on stores that ignore conditional writes.
pub const LEASES: &str = "_telelake/leases/";
/// Webhook events that wait to be processed.
pub const EVENTS: &str = "_telelake/events/";
/// Jobs that wait for their turn.
pub const QUEUE: &str = "_telelake/queue/";
/// The pause of the queue: since when, and by whom.
pub const PAUSED: &str = "_telelake/paused.json";
/// Lesson data that was received and is not in the lake yet.
pub const RELAY_NEW: &str = "_telelake/relay/new/";
/// Lesson data that waits to be passed on to the API.
pub const RELAY_DUE: &str = "_telelake/relay/due/";
/// Lesson data that the API has refused for good.
pub const RELAY_REFUSED: &str = "_telelake/relay/refused/";
/// The description of the store itself.
pub const STORE_INFO: &str = "_telelake/store.json";
/// The outcome of the last notifications.
pub const DELIVERIES: &str = "_telelake/notify.json";
/// The catalogue of spaces as last listed.
pub const SPACES: &str = "_telelake/catalog/spaces.json";

/// The catalogues of each space's rooms as last listed.
pub const ROOM_CATALOGS: &str = "_telelake/catalog/rooms/";
/// The times since when rooms are missing from the list of their space.
pub const GONE_ROOMS: &str = "_telelake/catalog/gone/";
/// The reports as received.
pub const REPORTS: &str = "raw/reports/";
/// Lesson data as received.
pub const RAW_META: &str = "raw/meta/";
/// The lesson days: the latest lesson data of each date.
pub const LESSON_DAYS: &str = "_telelake/meta/shelves/";
/// The changes of lesson data imports that the affected days have not taken up yet.
pub const META_CHANGED: &str = "_telelake/meta/changed/";
/// The dates that have lesson data, by meeting.
pub const META_INDEX: &str = "_telelake/meta/index/";
/// The days that have calls, by meeting.
pub const MEETING_DAYS: &str = "_telelake/meta/days/";
/// Copies of the months of [`MEETING_DAYS`] that no longer change, so that a run reads them at once.
pub const MEETING_MONTHS: &str = "_telelake/meta/months.json";
/// Objects that a repair moved out of the way, unchanged.
pub const SET_ASIDE: &str = "_telelake/aside/";
/// The records of erasures: tombstones of people, and what was destroyed.
pub const ERASURES: &str = "_telelake/erasures/";
/// The random part of the key of tombstones.
pub const ERASURE_SALT: &str = "_telelake/erasures/salt.json";
/// Notes of large reports that are being read, so that a crash can be attributed to one of them.
pub const ATTEMPTS: &str = "_telelake/attempts/";
/// The index of the days: a cache of the manifests for `status` and the page.
pub const INDEX: &str = "_telelake/index/";
/// The coverage of the days in the index, an object for each year.
pub const DAY_INDEXES: &str = "_telelake/index/days/";
/// The tables that each day's manifest names, a cache with an object for each year.
pub const TABLE_INDEXES: &str = "_telelake/index/tables/";
/// The shards of jobs that several processes do together: a folder for each job.
pub const SHARDS: &str = "_telelake/shards/";
/// The requests of each date, counted against `api.requests_per_day`.
pub const REQUESTS: &str = "_telelake/requests/";
/// The dates from which backfills go on that have spent a budget.
pub const RESUMES: &str = "_telelake/requests/resume.json";
/// The Delta Lake tables. They are made from the other tables and can be removed at any time.
pub const DELTA: &str = "delta/";
/// The memory of retention: up to which dates data was deleted.
pub const RETENTION: &str = "_telelake/retention.json";
/// The prefix of the objects that a check of the store writes and removes at once.
pub const PROBE: &str = "_telelake/probe";
/// The lesson data feeds, with what was read of each.
pub const META_FEEDS: &str = "_telelake/meta/feeds.json";

/// Characters that a segment keeps as they are; a leading dot is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Longer segments are cut, and a hash tells them apart. File systems allow 255 bytes, and a name may hold several
/// segments.
const LONGEST: usize = 96;

/// The path segment for an id: the id itself if it is plain, else percent-encoded, and cut and hashed if it is long.
/// Different ids get different segments.
pub fn segment(id: &str) -> String {
    let mut encoded = utf8_percent_encode(id, ENCODED).to_string();
    if let Some(rest) = encoded.strip_prefix('.') {
        encoded = format!("%2E{rest}");
    }
    if encoded.is_empty() {
        // No encoded id is a bare `%`.
        return "%".into();
    }
    if encoded.len() > LONGEST {
        let hash = hex::encode(Sha256::digest(id.as_bytes()));
        // No encoded id contains `%%`, so a cut segment equals no other one.
        return format!("{}%%{}", &encoded[..LONGEST - 34], &hash[..32]);
    }
    encoded
}

/// The id of a segment, unless [`segment`] cut it.
pub fn unsegment(segment: &str) -> Option<String> {
    if segment == "%" || segment.contains("%%") {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

/// The file of a table for a day.
pub fn table(table: &str, date: NaiveDate, space: &SpaceId) -> String {
    format!("{table}/date={date}/{}.parquet", segment(space))
}

/// The file of a table for a date.
pub fn date_table(table: &str, date: NaiveDate) -> String {
    format!("{table}/date={date}/{table}.parquet")
}

/// The file of a space's rooms.
pub fn rooms(space: &SpaceId) -> String {
    format!("rooms/{}.parquet", segment(space))
}

/// The file of the days of a space.
pub fn days(space: &SpaceId) -> String {
    days_of_segment(&segment(space))
}

/// The file of the days of a space whose id has this segment.
pub fn days_of_segment(segment: &str) -> String {
    format!("days/{segment}.parquet")
}

/// The file of all spaces.
pub fn spaces() -> String {
    "spaces/spaces.parquet".into()
}

/// A recording. The ids are separated by a bare `_`; the name of a record without a call starts with `no_call_`.
pub fn recording(
    date: NaiveDate,
    space: &SpaceId,
    room: &RoomId,
    call: Option<&CallId>,
    record: &RecordId,
) -> String {
    format!(
        "{MEDIA}date={date}/{}/{}/{}_{}.mp4",
        segment(space),
        segment(room),
        call.map_or_else(|| "no_call".into(), |call| part(call)),
        part(record)
    )
}

/// The manifest of the day that a recording belongs to.
pub fn manifest_of_recording(key: &str) -> Option<String> {
    let mut segments = key.strip_prefix(MEDIA)?.split('/');
    let (date, space) = (segments.next()?, segments.next()?);
    segments.next().map(|_| format!("{DAYS}{date}/{space}.json"))
}

/// The segment of an id that shares a name with others: it contains no bare `_`.
fn part(id: &str) -> String {
    segment(id).replace('_', "%5F")
}

/// A report as received.
pub fn report(date: NaiveDate, space: &SpaceId, call: &CallId, format: ReportFormat) -> String {
    format!(
        "{REPORTS}date={date}/{}/{}.{}",
        segment(space),
        segment(call),
        format.as_str()
    )
}

/// A day's manifest.
pub fn manifest(date: NaiveDate, space: &SpaceId) -> String {
    format!("{DAYS}date={date}/{}.json", segment(space))
}

/// The marker of an open day.
pub fn open_day(date: NaiveDate, space: &SpaceId) -> String {
    format!("{OPEN_DAYS}date={date}/{}", segment(space))
}

/// The record of an erasure.
pub fn erasure(id: &str) -> String {
    format!("{ERASURES}{}.json", segment(id))
}

/// The lease of a writing process.
pub fn lease(id: &str) -> String {
    format!("{LEASES}{}", segment(id))
}

/// The folder of a job that several processes do.
pub fn shard_folder(job: &str) -> String {
    format!("{SHARDS}{}/", segment(job))
}

/// The note that a shard of a job has begun.
pub fn shard(job: &str, index: u32) -> String {
    format!("{}{index}.json", shard_folder(job))
}

/// The shards of a job that have ended.
pub fn ended_shards(job: &str) -> String {
    format!("{}ended.json", shard_folder(job))
}

/// The calls of a space and date as a shard of a job listed them.
pub fn shared_list(job: &str, date: NaiveDate, space: &SpaceId) -> String {
    format!("{}date={date}/{}.json", shared_lists(job), segment(space))
}

/// The listings that the shards of a job share.
pub fn shared_lists(job: &str) -> String {
    format!("{}lists/", shard_folder(job))
}

/// The count of a date's requests.
pub fn requests(date: NaiveDate) -> String {
    format!("{REQUESTS}{date}.json")
}

/// The note of a large report that is being read.
pub fn attempt(hash: &str) -> String {
    format!("{ATTEMPTS}{hash}.json")
}

/// The catalogue of a space's rooms as last listed.
pub fn room_catalog(space: &SpaceId) -> String {
    format!("{ROOM_CATALOGS}{}.json", segment(space))
}

/// The times since when rooms are missing from the list of a space.
pub fn gone_rooms(space: &SpaceId) -> String {
    format!("{GONE_ROOMS}{}.json", segment(space))
}

/// A file of lesson data as received.
pub fn raw_meta(received: NaiveDate, id: &str) -> String {
    format!("{RAW_META}date={received}/{}.jsonl", segment(id))
}

/// Stands before the digest of a file of lesson data from which people were erased.
const ERASED_META: &str = "-erased-";

/// The file of lesson data that takes the place of another one, from which people were erased; `sha256` is its digest in hex.
/// Its name ends with the digest of the file as it was received, by which the file is known if it comes again.
pub fn erased_raw_meta(key: &str, sha256: &str) -> Option<String> {
    let (name, received) = key.strip_suffix(".jsonl")?.rsplit_once('-')?;
    let stamp = name.split_once(ERASED_META).map_or(name, |(stamp, _)| stamp);
    Some(format!(
        "{stamp}{ERASED_META}{}-{received}.jsonl",
        sha256.get(..32)?
    ))
}

/// The first digits of the digest of a file of lesson data, as its name has them.
pub fn digest_of_raw_meta(key: &str) -> Option<&str> {
    let (name, received) = key.strip_suffix(".jsonl")?.rsplit_once('-')?;
    Some(name.split_once(ERASED_META).map_or(received, |(_, now)| now))
}

/// The lesson day of a date: the latest lesson data of each user and meeting.
pub fn lesson_day(date: NaiveDate) -> String {
    format!("{LESSON_DAYS}date={date}.jsonl.zst")
}

/// The marker that an import of lesson data leaves.
pub fn meta_changed(import: &str) -> String {
    format!("{META_CHANGED}{}.json", segment(import))
}

/// The days of a month that have calls, by meeting.
pub fn meeting_days(date: NaiveDate) -> String {
    format!("{MEETING_DAYS}{}.json", date.format("%Y-%m"))
}

/// The coverage of a year's days in the index.
pub fn day_index(year: i32) -> String {
    format!("{DAY_INDEXES}{year:04}.json.zst")
}

/// The tables that the manifests of a year's days name.
pub fn table_index(year: i32) -> String {
    format!("{TABLE_INDEXES}{year:04}.json.zst")
}

/// The hashes of the ids of a month's days in the index.
pub fn id_index(date: NaiveDate) -> String {
    format!("{INDEX}ids/{}.json.zst", date.format("%Y-%m"))
}

/// The dates that have lesson data of a meeting. A few objects share all meetings.
pub fn meta_index(meeting: &str) -> String {
    let hash = hex::encode(Sha256::digest(meeting.as_bytes()));
    format!("{META_INDEX}{}.json", &hash[..1])
}

/// A number for a meeting, to look up its days and dates. If two meetings share a number, which hardly happens, both
/// are looked up and then told apart by their ids.
pub fn mark(meeting: &str) -> u64 {
    let digest = Sha256::digest(meeting.as_bytes());
    digest[..8]
        .iter()
        .fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

/// A meeting's [`mark`] as text.
pub fn mark_text(mark: u64) -> String {
    format!("{mark:016x}")
}

/// Parses a [`mark`].
pub fn read_mark(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The key to which a repair moves an object; `stamp` tells repairs apart.
pub fn set_aside(key: &str, stamp: &str) -> String {
    format!("{SET_ASIDE}{}/{key}", segment(stamp))
}

/// A job that waits for its turn.
pub fn queued(id: &str) -> String {
    format!("{QUEUE}{}.json", segment(id))
}

/// The latest lines of a run's log.
pub fn run_log(id: &str) -> String {
    format!("{RUN_LOGS}{}.json", segment(id))
}

/// A run's summary.
pub fn run(id: &str) -> String {
    format!("{RUNS}{}.json", segment(id))
}

/// The date in a key with a `date=` segment.
pub fn date_in(key: &str) -> Option<NaiveDate> {
    key.split('/')
        .find_map(|part| part.strip_prefix("date="))
        .and_then(|date| date.split('.').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_of_lesson_data_without_erased_people_is_known_by_both_digests() {
        let received = raw_meta(
            "2026-11-22".parse().expect("date"),
            &format!("20261122T020000Z-{}", "a".repeat(32)),
        );
        assert_eq!(digest_of_raw_meta(&received), Some(&*"a".repeat(32)));
        let once = erased_raw_meta(&received, &"b".repeat(64)).expect("a key");
        assert_eq!(digest_of_raw_meta(&once), Some(&*"b".repeat(32)));
        let twice = erased_raw_meta(&once, &"c".repeat(64)).expect("a key");
        assert_eq!(digest_of_raw_meta(&twice), Some(&*"c".repeat(32)));
        assert!(twice.ends_with(&format!("-{}.jsonl", "a".repeat(32))) && !twice.contains('b'));
    }

    #[test]
    fn plain_ids_are_kept_as_they_are() {
        let date = "2026-11-22".parse().expect("date");
        let (space, room, call, record) =
            ("60d55c0eb9ef88ab17b0aabb", "62b0e25e3dc082dc7502d273", "c1", "r1");
        insta::assert_snapshot!(
            [
                table("participants", date, &space.into()),
                rooms(&space.into()),
                spaces(),
                recording(
                    date,
                    &space.into(),
                    &room.into(),
                    Some(&call.into()),
                    &record.into()
                ),
                recording(date, &space.into(), &room.into(), None, &record.into()),
                report(date, &space.into(), &call.into(), ReportFormat::Json),
                report(date, &space.into(), &call.into(), ReportFormat::Xlsx),
                manifest(date, &space.into()),
                open_day(date, &space.into()),
                room_catalog(&space.into()),
                run("20261122T020000Z-1a2b3c"),
            ]
            .join("\n")
        );
        assert_eq!(date_in(&manifest(date, &space.into())), Some(date));
        assert_eq!(
            manifest_of_recording(&recording(
                date,
                &space.into(),
                &room.into(),
                None,
                &record.into()
            )),
            Some(manifest(date, &space.into()))
        );
        assert_eq!(
            manifest_of_recording(&table("recordings", date, &space.into())),
            None
        );
    }

    #[test]
    fn hostile_ids_do_not_leave_their_segment() {
        assert_eq!(segment("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(segment(".."), "%2E.");
        assert_eq!(segment(""), "%");
        assert_eq!(segment("a\0b=c"), "a%00b%3Dc");
    }

    #[test]
    fn recordings_of_different_ids_never_share_a_key() {
        let date = "2026-11-22".parse().expect("date");
        let key = |call: Option<&str>, id: &str| {
            let call = call.map(Into::into);
            recording(date, &"s".into(), &"r".into(), call.as_ref(), &id.into())
        };
        assert_ne!(key(Some("a_b"), "c"), key(Some("a"), "b_c"));
        assert_ne!(key(Some("no_call"), "c"), key(None, "c"));
        assert_ne!(key(Some("no"), "call_c"), key(None, "c"));
    }

    proptest! {
        #[test]
        fn a_segment_is_one_plain_name_and_tells_ids_apart(a in "\\PC{0,60}|[./%a]{0,200}", b in "\\PC{0,60}|[./%a]{0,200}") {
            let name = segment(&a);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST);
            prop_assert!(!name.starts_with('.') && !name.contains('/'));
            prop_assert!(name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.%".contains(&c)));
            prop_assert_eq!(a == b, name == segment(&b));
            if let Some(id) = unsegment(&name) {
                prop_assert_eq!(id, a);
            }
        }
    }
}

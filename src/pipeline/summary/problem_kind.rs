//! The kinds of problems that a run's summary lists. Pure. Scripts compare their words, so a word never changes;
//! `docs/problems.md` is made from this table.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer};

use crate::kinds::kinds;
use crate::store::Shortcoming;
use crate::tables::Observation;

kinds! {
    /// The kind of a problem in a run's summary.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    pub enum ProblemKind {
        SpaceFailed = "space_failed" in "failed":
            "The rooms of a space could not be listed, so that nothing of the space was exported.",
            "Read the message. The next run tries again; `telelake check` says what the token sees.";
        SpaceNotVisible = "space_not_visible" in "failed":
            "A space of `scope.spaces` or of the command line is not among those that the token sees.",
            "Check the id, and that the token's account is a member of the space.";
        SpaceNotInScope = "space_not_in_scope" in "failed":
            "A job names a space that `scope.spaces` leaves out.",
            "Add the space to `scope.spaces`, or ask for another one.";
        SpaceSkipped = "space_skipped" in "failed":
            "Requests of a space were not sent because the ones before them had kept failing.",
            "Read the reason in the message. The next run sends them.";
        ShardsDiffer = "shards_differ" in "failed":
            "The shards of a job saw different spaces, or were given different plans, so that days may belong to none of them.",
            "Give the job again. Days that are in the lake cost no report again.";
        RoomNotFound = "room_not_found" in "failed":
            "A room of `scope.rooms` or of a job is in none of the spaces in scope.",
            "Check the id, and `scope.spaces`, `scope.rooms` and `scope.exclude_rooms`.";
        RoomSkipped = "room_skipped" in "failed":
            "Requests of a room were not sent because the ones before them had kept failing.",
            "Read the reason in the message. The next run sends them.";
        RoomGone = "room_gone" in "failed, warning":
            "A room is no longer listed. As a failure: the API also refuses it by its id, and the day stays open. As a \
             warning: the API still answers by its id, or the day gave the room up after `export.give_up`.",
            "Nothing, if the room was deleted on purpose. Delete a room only after its last calls were exported.";
        DownloadsSkipped = "downloads_skipped" in "failed":
            "Downloads of a space's recordings were not sent because the ones before them had kept failing.",
            "Read the reason in the message. The next run sends them.";
        ListingFailed = "listing_failed" in "failed":
            "The calls or recordings of a room could not be listed.",
            "Nothing at first: the day stays open and the next run asks again.";
        CallDateContradicted = "call_date_contradicted" in "warning":
            "A call starts on another date than the one under which the API lists it by `api.call_date`. The run asked for one \
             date more on each side from there on.",
            "Set `api.call_date` to what `telelake check` says, or leave it empty.";
        ListingIncomplete = "listing_incomplete" in "failed":
            "A list of the API ended before all of its items had come.",
            "Nothing at first: the next run asks again. Report it to the vendor if it stays.";
        ItemsWithoutId = "items_without_id" in "failed":
            "Items of a list have no id and were left out.",
            "Report it to the vendor.";
        ItemsWithOtherId = "items_with_other_id" in "failed":
            "Items of a list have `_id` in the place of `id`. They are exported by it, but may be others than it says.",
            "Report it to the vendor.";
        CatalogFailed = "catalog_failed" in "failed":
            "The tables of rooms and spaces could not be brought up to date, or the rooms that the lake knows could not be read.",
            "Read the message. The next run tries again.";
        DayFailed = "day_failed" in "failed":
            "The work on a day broke off. Other days went on.",
            "Read the message. The day stays open and the next run works on it again.";
        RebuildFailed = "rebuild_failed" in "failed":
            "The tables of a day could not be built from its landed reports.",
            "Read the message, then `telelake verify --deep` for that day.";
        StoreFailed = "store_failed" in "failed":
            "The store failed while a day, or the days that share a meeting with it, was worked on.",
            "Check the store: its rights, its space, its network. The next run tries again.";
        CallPending = "call_pending" in "pending":
            "A call is still going on, or ended less than `scope.settle` ago.",
            "Nothing: a later run asks for its reports.";
        ReportPending = "report_pending" in "pending":
            "A report is not ready, is empty, or does not say yet who was there.",
            "Nothing: each run asks again until `export.give_up`.";
        ReportFailed = "report_failed" in "failed":
            "A report could not be fetched, or can't be used.",
            "Read the message. The next run fetches it again.";
        ReportDenied = "report_denied" in "warning":
            "The API refuses a report to this token.",
            "Give the token's account the right to read reports, then run `telelake backfill` over the date.";
        ReportLost = "report_lost" in "failed":
            "A landed report is gone from `raw/`.",
            "Nothing: the next run fetches it again. Find out who removed it.";
        ReportLostForGood = "report_lost_for_good" in "warning":
            "A report did not come within `export.give_up`. Nightly runs no longer ask for it.",
            "`telelake backfill` over the date asks once more.";
        RawDeleted = "raw_deleted" in "warning":
            "Lesson data, the mapping or another day has changed, and days that it concerns keep the tables that they have: \
             their raw reports were deleted after their retention.",
            "Nothing, or `telelake backfill --force` over their dates, which fetches the reports again.";
        ReportsAwaited = "reports_awaited" in "pending, warning":
            "Something has landed on a day whose raw reports were deleted, and not all of them have come back. The tables \
             of the day are as they were. As a warning: the day has given the reports up after `export.give_up`.",
            "Nothing: each run asks again. `telelake backfill --force` over the date asks once more later.";
        DaysExpired = "days_expired" in "warning":
            "Dates of the job are older than `retention.tables`, so that nothing was listed or fetched for them.",
            "Nothing. Raise `retention.tables` to export them.";
        ErasureUnfinished = "erasure_unfinished" in "warning":
            "A `forget` was stopped or killed, or goes on right now. The people are kept out of what runs land and import, but are \
             not erased everywhere.",
            "Give the same `forget` command again. `_telelake/erasures/` has the record.";
        RetentionFailed = "retention_failed" in "warning":
            "Data whose retention is over could not all be deleted. The export itself is not concerned.",
            "Nothing at first: the next run goes on. If it stays, read the message and run `telelake retain`.";
        ReportKept = "report_kept" in "warning":
            "A report was fetched again, and the API gave none, or a worse one. The report in the lake is kept.",
            "Nothing.";
        ReportShrank = "report_shrank" in "warning":
            "A new report has fewer participants than the one in the lake, though the call still counts them. The earlier one is kept.",
            "Nothing at first. Report it to the vendor if it stays.";
        ReportUnreadable = "report_unreadable" in "warning":
            "A landed report can't be read, so that no table has its rows.",
            "`telelake backfill --force` over the date fetches it again. Report it to the vendor if it stays.";
        RecordPending = "record_pending" in "pending":
            "A recording is not ready.",
            "Nothing: each run asks again until `export.give_up`.";
        RecordFailed = "record_failed" in "failed":
            "A recording could not be copied.",
            "Read the message. The next run goes on where this one stopped.";
        RecordDenied = "record_denied" in "warning":
            "The API refuses a recording to this token.",
            "Give the token's account the right to download recordings, then run `telelake backfill` over the date.";
        RecordUnavailable = "record_unavailable" in "warning":
            "The platform itself gave the recording up.",
            "Nothing: there is no file to copy.";
        RecordLostForGood = "record_lost_for_good" in "warning":
            "A recording did not come within `export.give_up`. Nightly runs no longer ask for it.",
            "`telelake backfill` over the date asks once more.";
        RecordUndated = "record_undated" in "warning":
            "A recording has neither a known call nor a date, so that it belongs to no day and is not copied.",
            "Report it to the vendor.";
        FileSizeDiffers = "file_size_differs" in "warning":
            "A recording has another size than the API says. The whole file was copied.",
            "Nothing.";
        ParticipantsDiffer = "participants_differ" in "warning":
            "The number of participants in a report is not the one that the call counts, or not the one in the call's other report.",
            "Compare the two in the platform before you rely on the attendance of that call.";
        OutsideCall = "outside_call" in "warning":
            "Most stays of a call's participants lie more than 5 minutes outside of the call.",
            "If the message names an offset, set `zone` in a mapping of your own and run `telelake rebuild`. If not, check the times of that call before you rely on its durations.";
        NewField = "new_field" in "warning":
            "A report has a field that no column takes. The message says where the lake keeps it.",
            "Add a column to a mapping of your own, then run `telelake rebuild`.";
        BadValue = "bad_value" in "warning":
            "A value can't be read as the type of its column, and is null there.",
            "Look at the value in `raw/`. Correct its source or the mapping.";
        ParticipantsMerged = "participants_merged" in "warning":
            "Rows of participants that their report had before became one with them.",
            "Nothing.";
        ParticipantsMergedByName = "participants_merged_by_name" in "warning":
            "Rows of an XLSX report became one participant because their names are equal, and nothing else tells them apart.",
            "Export JSON reports too: they have ids.";
        DuplicateExternalId = "duplicate_external_id" in "warning":
            "Two participants of a call have the same external user id and meeting.",
            "Check in the LMS whether two people share an account.";
        DuplicateParticipantId = "duplicate_participant_id" in "warning":
            "A report gives a participant id to people with different external user ids. Each is a participant of its own.",
            "Report it to the vendor.";
        IdsDifferByCase = "ids_differ_by_case" in "warning":
            "External user ids differ only by upper and lower case or by spaces. They stay different users.",
            "Correct the ids in the LMS.";
        SessionsUnclaimed = "sessions_unclaimed" in "warning":
            "Sessions or events in a list of a report name nobody among its participants. They are in `raw/` alone.",
            "Compare `key` and `equals` of the sessions in your mapping with the report, then run `telelake rebuild`.";
        HeaderUnknown = "header_unknown" in "warning":
            "A sheet of a workbook has no header that the mapping knows, so that it feeds no table.",
            "Add the header's names to a mapping of your own, then run `telelake rebuild`.";
        ParticipantsWithoutMeta = "participants_without_meta" in "warning":
            "Participants with an external user id and meeting have no lesson data.",
            "Check that the LMS sends lesson data for that meeting: see `meta.feeds` and the webhook.";
        UnknownRole = "unknown_role" in "warning":
            "Lesson data gives users a role that is none of student, teacher, parent and assistant.",
            "Correct the role in the LMS.";
        MetaFailed = "meta_failed" in "failed":
            "Lesson data could not be imported, or the tables of a date's lesson data could not be built.",
            "Read the message. The next run tries again.";
        MetaFeedFailed = "meta_feed_failed" in "failed":
            "A feed of `meta.feeds` could not be read.",
            "Check the feed's address and its rights. The next run tries again.";
        MetaFeedMissing = "meta_feed_missing" in "warning":
            "The folder of a feed in `meta.feeds` is not there.",
            "Make the folder, or correct `meta.feeds`.";
        MetaFileFailed = "meta_file_failed" in "failed":
            "A file of a feed, or a line of it, can't be read as lesson data. Its other lines were imported.",
            "Correct the line and put the file into the feed again.";
        RateLimited = "rate_limited" in "failed, warning":
            "The API said that there are too many requests. As a failure: requests were not sent because it refused all before them.",
            "Set `api.requests_per_second` to the rate that the message names.";
        StoreIgnoresConditionalWrites = "store_ignores_conditional_writes" in "warning":
            "The store ignores conditional writes, so that runs and imports take turns by a lease.",
            "Use a store that honours them, or never write from two machines at once.";
        StoreListsNoUploads = "store_lists_no_uploads" in "warning":
            "The S3 server does not list uploads (ListMultipartUploads), so that the space of some broken uploads stays taken.",
            "Let a lifecycle rule of the bucket abort incomplete uploads after 7 days.";
        StoreListsNoParts = "store_lists_no_parts" in "warning":
            "The S3 server does not list the parts of an upload (ListParts), so that a copy that was killed starts from its first byte.",
            "Nothing.";
        StoreTakesNoMultipart = "store_takes_no_multipart" in "warning":
            "The S3 server takes no uploads in parts (CreateMultipartUpload), so that a recording larger than `store.s3.part_size` can't be copied.",
            "Raise `store.s3.part_size`, or use another S3 server.";
        UploadsNotSwept = "uploads_not_swept" in "warning":
            "Uploads that a killed run left could not be listed or aborted.",
            "Nothing at first: the next run tries again.";
        DeltaFailed = "delta_failed" in "warning":
            "A Delta table below `delta/` could not be brought up to date. The export itself is not concerned.",
            "Nothing at first: the next run makes it up. If it stays, remove the folder of the table; it is made anew.";
        SummaryFailed = "summary_failed" in "failed":
            "The run's summary could not be stored.",
            "Check the store: its rights, its space, its network.";
        SummaryCut = "summary_cut" in "warning":
            "There was no space for the whole summary, so that its lists were cut.",
            "Make space on the disk.";
        ..Other(String);
    }
}

impl Default for ProblemKind {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

/// By the word.
impl Ord for ProblemKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for ProblemKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'de> Deserialize<'de> for ProblemKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|kind| kind.as_str() == word);
        Ok(known.cloned().unwrap_or(Self::Other(word)))
    }
}

impl From<Observation> for ProblemKind {
    fn from(observation: Observation) -> Self {
        match observation {
            Observation::MergedParticipants => Self::ParticipantsMerged,
            Observation::MergedByName => Self::ParticipantsMergedByName,
            Observation::DuplicateExternalIds => Self::DuplicateExternalId,
            Observation::SharedParticipantIds => Self::DuplicateParticipantId,
            Observation::LookAlikeIds => Self::IdsDifferByCase,
            Observation::UnclaimedSessions => Self::SessionsUnclaimed,
            Observation::HeadlessSheets => Self::HeaderUnknown,
            Observation::MendedCharacters | Observation::ImpossibleNumbers => Self::BadValue,
        }
    }
}

impl From<Shortcoming> for ProblemKind {
    fn from(shortcoming: Shortcoming) -> Self {
        match shortcoming {
            Shortcoming::UploadList => Self::StoreListsNoUploads,
            Shortcoming::PartList => Self::StoreListsNoParts,
            Shortcoming::Multipart => Self::StoreTakesNoMultipart,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_was_written_and_an_unknown_one_keeps_its_word() {
        for kind in ProblemKind::ALL {
            let json = serde_json::to_value(kind).expect("JSON");
            assert_eq!(json, kind.as_str());
            assert_eq!(
                serde_json::from_value::<ProblemKind>(json).expect("a kind"),
                *kind
            );
        }
        let newer: ProblemKind = serde_json::from_value("room_on_fire".into()).expect("a kind");
        assert_eq!(newer, ProblemKind::Other("room_on_fire".into()));
        assert_eq!(serde_json::to_value(newer).expect("JSON"), "room_on_fire");
    }

    #[test]
    fn each_kind_has_a_word_of_its_own_and_stands_in_a_list_of_the_summary() {
        let words: std::collections::BTreeSet<_> = ProblemKind::ALL.iter().map(ProblemKind::as_str).collect();
        assert_eq!(words.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            let [lists, meaning, advice] = kind.explain();
            let is_list = |list: &str| ["failed", "pending", "warning"].contains(&list);
            assert!(lists.split(", ").all(is_list), "{kind}: {lists}");
            assert!(meaning.ends_with('.') && advice.ends_with('.'), "{kind}");
        }
    }
}

//! Compares a lake with the school of the simulator: everything is there, exactly once and unchanged.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use sha2::{Digest, Sha256};
use telelake::lake::date_of;
use telelake::simulator::{Record, School, Simulator};

use super::lake::{Lake, Row};

/// Sorts a list, so that two lists with the same items are equal. Duplicates stay.
fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

fn cells<const N: usize>(row: &Row, columns: [&str; N]) -> [String; N] {
    columns.map(|column| row[column].clone())
}

/// True for a record that the platform can provide as a whole file.
pub fn is_whole(record: &Record) -> bool {
    record.finished_at.is_some() && record.file_size != Some(0)
}

/// Compares all tables and recordings with the school, with days in `zone`.
pub async fn assert_whole(lake: &Lake, sim: &Simulator, zone: Tz) {
    let school = sim.school();
    assert_calls(lake, &school, zone).await;
    assert_people(lake, &school).await;
    assert_events(lake, &school).await;
    assert_recordings(lake, sim, &school).await;
    let keys = lake.keys().await;
    for key in keys.keys() {
        assert!(!key.contains("/tmp/"), "{key} was left behind");
    }
}

async fn assert_calls(lake: &Lake, school: &School, zone: Tz) {
    let rows = lake
        .rows("calls", &["space_id", "room_id", "call_id", "participants_count"])
        .await;
    let found = sorted(
        rows.iter()
            .map(|row| cells(row, ["date", "space_id", "room_id", "call_id"])),
    );
    let expected = sorted(school.calls.iter().map(|call| {
        [
            date_of(call.started_at, zone).to_string(),
            call.space_id.clone(),
            call.room_id.clone(),
            call.id.clone(),
        ]
    }));
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
}

async fn assert_people(lake: &Lake, school: &School) {
    let rows = lake
        .rows(
            "participants",
            &["call_id", "participant_id", "name", "sessions_count"],
        )
        .await;
    let found = sorted(
        rows.iter()
            .map(|row| cells(row, ["call_id", "participant_id", "name", "sessions_count"])),
    );
    let expected = sorted(school.calls.iter().flat_map(|call| {
        call.participants.iter().map(|person| {
            let id = person.id.clone().expect("this school knows everyone");
            [
                call.id.clone(),
                id,
                person.name.clone(),
                person.sessions.len().to_string(),
            ]
        })
    }));
    assert_eq!(found, expected);
}

async fn assert_events(lake: &Lake, school: &School) {
    let rows = lake.rows("messages", &["call_id", "message_id", "text"]).await;
    let found = sorted(
        rows.iter()
            .map(|row| cells(row, ["call_id", "message_id", "text"])),
    );
    let messages = |call: &telelake::simulator::Call| {
        call.messages
            .iter()
            .map(|m| [call.id.clone(), m.id.clone(), m.text.clone()])
            .collect::<Vec<_>>()
    };
    assert_eq!(found, sorted(school.calls.iter().flat_map(messages)));

    let rows = lake
        .rows("reactions", &["call_id", "participant_id", "type"])
        .await;
    let found = sorted(
        rows.iter()
            .map(|row| cells(row, ["call_id", "participant_id", "type"])),
    );
    let expected = sorted(school.calls.iter().flat_map(|call| {
        call.reactions.iter().map(|r| {
            [
                call.id.clone(),
                call.participants[r.from].id.clone().unwrap_or_default(),
                r.kind.clone(),
            ]
        })
    }));
    assert_eq!(found, expected);

    let rows = lake
        .rows(
            "poll_votes",
            &["call_id", "poll_id", "option_id", "option_text", "participant_id"],
        )
        .await;
    let found = sorted(rows.iter().map(|row| {
        cells(
            row,
            ["call_id", "poll_id", "option_id", "option_text", "participant_id"],
        )
    }));
    let expected = sorted(school.calls.iter().flat_map(|call| {
        call.polls.iter().flat_map(move |poll| {
            poll.votes.iter().map(move |vote| {
                let (id, text) = poll.options[vote.option].clone();
                let person = call.participants[vote.from].id.clone().unwrap_or_default();
                [call.id.clone(), poll.id.clone(), id, text, person]
            })
        })
    }));
    assert_eq!(found, expected);
}

async fn assert_recordings(lake: &Lake, sim: &Simulator, school: &School) {
    let rows = lake
        .rows(
            "recordings",
            &["space_id", "record_id", "status", "uri", "sha256", "bytes"],
        )
        .await;
    let found = sorted(rows.iter().map(|row| row["record_id"].clone()));
    assert_eq!(
        found,
        sorted(school.records.iter().map(|record| record.id.clone()))
    );
    let by_id: BTreeMap<_, _> = rows.iter().map(|row| (row["record_id"].as_str(), row)).collect();
    let mut files = Vec::new();
    for record in &school.records {
        let row = by_id[record.id.as_str()];
        if !is_whole(record) {
            assert_ne!(row["status"], "done", "{row:?}");
            continue;
        }
        assert_eq!(row["status"], "done", "{row:?}");
        let key = row["uri"]
            .strip_prefix(&format!("{}/", lake.url()))
            .unwrap_or_else(|| panic!("{row:?}"));
        let bytes = lake.get(key).await;
        assert_eq!(row["bytes"], bytes.len().to_string());
        let sha256 = hex::encode(Sha256::digest(&bytes));
        assert_eq!(Some(&sha256), sim.record_sha256(&record.id).as_ref(), "{key}");
        assert_eq!(row["sha256"], sha256);
        files.push(key.to_owned());
    }
    let keys = lake.keys().await;
    let mp4: Vec<_> = keys.keys().filter(|key| key.ends_with(".mp4")).cloned().collect();
    assert_eq!(
        sorted(files),
        mp4,
        "each recording is one file, and there is no other"
    );
}

//! Workbooks from the simulator to the tables: alone, beside JSON, and broken.

use std::collections::BTreeSet;

use telelake::simulator::{Report, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

async fn export(sim: &Simulator, lake: &Lake, reports: &str) -> Finished {
    Telelake::against(sim, lake, &backfill(&range(sim), &["--only", "analytics"]))
        .env("TELELAKE_EXPORT__REPORTS", reports)
        .run()
        .await
}

/// The rows of a table without the ids that a workbook does not have.
async fn rows(lake: &Lake, table: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = lake
        .rows(table, columns)
        .await
        .into_iter()
        .map(|row| columns.iter().map(|column| row[*column].clone()).collect())
        .collect();
    rows.sort();
    rows
}

const PEOPLE: [&str; 12] = [
    "call_id",
    "name",
    "role",
    "email",
    "phone",
    "external_user_id",
    "external_meeting_id",
    "first_joined_at",
    "last_left_at",
    "sessions",
    "sessions_count",
    "duration_s",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_workbook_alone_gives_the_participants_and_messages_of_json() {
    let sim = Simulator::start(small()).await.unwrap();
    let (json, xlsx, both) = (Lake::folder(), Lake::folder(), Lake::folder());
    export(&sim, &json, "json").await.expect(0);
    export(&sim, &xlsx, "xlsx").await.expect(0);
    let run = export(&sim, &both, "json,xlsx").await.expect(0);

    let people = rows(&json, "participants", &PEOPLE).await;
    assert!(people.len() > 20, "{}", people.len());
    assert_eq!(rows(&xlsx, "participants", &PEOPLE).await, people);
    assert_eq!(rows(&both, "participants", &PEOPLE).await, people);

    let chat = ["call_id", "participant_name", "sent_at", "text"];
    let messages = rows(&json, "messages", &chat).await;
    assert!(!messages.is_empty());
    assert_eq!(rows(&xlsx, "messages", &chat).await, messages);

    let lines = ["call_id", "sheet", "row_number", "cells"];
    let all = rows(&xlsx, "report_rows", &lines).await;
    let stays: usize = people.iter().map(|row| row[10].parse::<usize>().unwrap()).sum();
    assert_eq!(all.len(), stays + messages.len());
    assert!(
        all.iter().all(|row| row[2].parse::<u32>().unwrap() > 3),
        "below the header"
    );
    assert_eq!(rows(&both, "report_rows", &lines).await, all);
    assert!(rows(&json, "report_rows", &lines).await.is_empty());
    let differ = warnings(&run, "participants_differ");
    assert!(differ.is_empty(), "{differ:?}");
}

fn warnings(run: &Finished, kind: &str) -> BTreeSet<String> {
    let summary = run.summary();
    let warnings = summary["warnings"].as_array().unwrap().iter();
    warnings
        .filter(|warning| warning["kind"] == kind)
        .map(|warning| {
            let ids = ["date", "space_id", "room_id", "call_id"].map(|id| warning[id].as_str());
            assert!(ids.iter().all(Option::is_some), "{warning}");
            ids[3].unwrap_or_default().to_owned()
        })
        .collect()
}

/// The state of a call's report in its manifest.
async fn landing(lake: &Lake, call: &str, format: &str) -> serde_json::Value {
    let manifests = lake.manifests().await;
    let calls = manifests.iter().filter_map(|day| day["calls"].get(call));
    let found: Vec<_> = calls.map(|call| call["reports"][format].clone()).collect();
    assert_eq!(found.len(), 1);
    found[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workbook_that_is_broken_empty_or_different_from_json_is_named() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let calls: Vec<String> = sim
        .school()
        .calls
        .iter()
        .filter(|call| call.participants.len() > 2)
        .map(|call| call.id.clone())
        .collect();
    let [broken, empty, differs, no_json] = [0, 1, 2, 3].map(|at| calls[at].clone());
    sim.edit(|school| {
        for call in &mut school.calls {
            if call.id == broken {
                call.xlsx = Report::bytes(b"PK\x03\x04 and then nothing");
            } else if call.id == empty {
                call.xlsx = Report::EMPTY;
            } else if call.id == differs {
                call.xlsx = Report::Without(1);
            } else if call.id == no_json {
                call.json = Report::bytes("<html>");
            }
        }
    });
    let run = export(&sim, &lake, "json,xlsx").await.expect(3);

    let report = landing(&lake, &broken, "xlsx").await;
    assert_eq!(report["status"], "failed");
    assert_eq!(report["reason"], "the report is a damaged workbook");
    let kept = lake.get(report["landed"]["key"].as_str().unwrap()).await;
    assert_eq!(&kept[..], b"PK\x03\x04 and then nothing");
    assert_eq!(landing(&lake, &empty, "xlsx").await["status"], "pending");
    assert_eq!(
        warnings(&run, "participants_differ"),
        BTreeSet::from([differs.clone()])
    );

    let school = sim.school();
    let counted = |id: &String| {
        let call = school.calls.iter().find(|call| call.id == *id);
        call.map_or(0, |call| call.participants.len())
    };
    let people = rows(&lake, "participants", &["call_id", "name"]).await;
    let lines = rows(&lake, "report_rows", &["call_id", "sheet"]).await;
    for (call, has_lines) in [
        (&broken, false),
        (&empty, false),
        (&differs, true),
        (&no_json, true),
    ] {
        let of_call = people.iter().filter(|row| row[0] == *call).count();
        assert_eq!(of_call, counted(call), "JSON or the workbook feeds it");
        assert_eq!(lines.iter().any(|row| row[0] == *call), has_lines);
    }

    // The platform recovers, and then nothing is left to do.
    sim.edit(|school| {
        for call in &mut school.calls {
            (call.json, call.xlsx) = (Report::Whole, Report::Whole);
        }
    });
    let run = export(&sim, &lake, "json,xlsx").await.expect(0);
    assert_eq!(landing(&lake, &broken, "xlsx").await["status"], "done");
    assert!(run.count("reports_landed") >= 3);
    let again = export(&sim, &lake, "json,xlsx").await.expect(0);
    assert_eq!(again.count("writes"), 0);
}

/// A workbook of one sheet of text.
fn workbook(sheet: &str, rows: &[Vec<&str>]) -> Report {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet().set_name(sheet).unwrap();
    for (row, cells) in (0..).zip(rows) {
        for (column, text) in (0..).zip(cells) {
            sheet.write(row, column, *text).unwrap();
        }
    }
    Report::bytes(book.save_to_buffer().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_workbook_is_refused_and_named() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let compound = |stream: &str| [b"\xd0\xcf\x11\xe0".to_vec(), vec![0; 600], utf16(stream)].concat();
    let kinds = [
        (compound("EncryptedPackage"), "a password-protected workbook"),
        (compound("Workbook"), "an XLS workbook (Excel 97-2003), not XLSX"),
        (
            b"<!doctype html><p>wait".to_vec(),
            "an HTML page, not an XLSX workbook",
        ),
        (b"[1, 2]".to_vec(), "JSON, not an XLSX workbook"),
        (
            "Имя;Вход\nАнна;10:00".into(),
            "CSV or other text, not an XLSX workbook",
        ),
        (b"\x89PNG\0".to_vec(), "not an XLSX workbook"),
    ];
    let calls: Vec<String> = sim.school().calls.iter().map(|call| call.id.clone()).collect();
    sim.edit(|school| {
        for (call, (bytes, _)) in school.calls.iter_mut().zip(&kinds) {
            call.xlsx = Report::bytes(bytes);
        }
    });
    export(&sim, &lake, "xlsx").await.expect(3);
    for (call, (_, name)) in calls.iter().zip(&kinds) {
        let report = landing(&lake, call, "xlsx").await;
        assert_eq!(report["status"], "failed");
        assert_eq!(report["reason"], format!("the report is {name}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_in_a_sheet_are_not_people_and_make_nobody_absent() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let school = sim.school();
    let mut of_meetings = school.calls.iter().filter(|call| call.participants.len() > 2);
    let [summed, named] = [(); 2].map(|()| of_meetings.next().unwrap());
    let meeting = summed.lesson.meeting_id.as_str();
    let head = vec!["Имя", "ID пользователя", "ID встречи", "Минут"];
    let total = vec!["Итого:", "2", "", "45"];
    let totals = vec![
        head,
        vec!["Анна", "u1", meeting, "45"],
        vec!["Иван", "u2", meeting, "-"],
        total,
    ];
    let namesakes = [
        vec!["Имя", "Вход"],
        vec!["Иван", "22.11.2026 10:00"],
        vec!["Иван", "22.11.2026 10:05"],
    ];
    sim.edit(|school| {
        for call in &mut school.calls {
            if call.id == summed.id {
                call.xlsx = workbook("Участники", &totals);
            } else if call.id == named.id {
                call.xlsx = workbook("Участники", &namesakes);
            }
        }
    });
    let run = export(&sim, &lake, "xlsx").await;

    let people = rows(
        &lake,
        "participants",
        &["call_id", "external_user_id", "sessions", "duration_s"],
    )
    .await;
    let of_call: Vec<_> = people.iter().filter(|row| row[0] == summed.id).collect();
    let nothing = ["", ""];
    assert_eq!(of_call.len(), 2, "{of_call:?}");
    assert!(of_call.iter().all(|row| row[2..] == nothing), "{of_call:?}");
    let lines = rows(&lake, "report_rows", &["call_id", "row_number"]).await;
    assert_eq!(lines.iter().filter(|row| row[0] == summed.id).count(), 3);
    let attendance = rows(&lake, "lesson_attendance", &["external_user_id", "attended"]).await;
    for user in ["u1", "u2"] {
        assert!(
            attendance.contains(&vec![user.to_owned(), "true".to_owned()]),
            "{attendance:?}"
        );
    }
    let merged = warnings(&run, "participants_merged_by_name");
    assert!(merged.contains(&named.id), "{merged:?}");
}

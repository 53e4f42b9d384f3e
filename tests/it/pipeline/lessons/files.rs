//! `meta import` and `meta push`.

use serde_json::json;
use telelake::simulator::{Endpoint, Failure, Matcher, Options, Simulator};

use super::{METAS, write};
use crate::pipeline::small;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

#[tokio::test(flavor = "multi_thread")]
async fn an_import_takes_good_lines_and_names_bad_ones() {
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let good = |user: &str| {
        format!(
            r#"{{"externalUserId":"{user}","externalMeetingId":"m","meta":{{"lesson_scheduled_start_dt":"soon"}}}}"#
        )
    };
    let path = folder.path().join("a.jsonl");
    std::fs::write(
        &path,
        format!("{}\n{{\"externalUserId\": 1\n{}\n", good("u"), good("v")),
    )
    .unwrap();
    let import = Telelake::new(&["--log-format", "json", "meta", "import", path.to_str().unwrap()])
        .lake(&lake)
        .run()
        .await
        .expect(3);
    let done = import.summary();
    assert_eq!(
        (&done["changed"], &done["bad_lines"], &done["bad_values"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!(done["lines"][0]["line"], 2, "{done}");
    assert_eq!(done["values"][0]["external_meeting_id"], "m", "{done}");
    assert!(
        import.stderr.contains("line 2: ends in the middle"),
        "{}",
        import.stderr
    );
    assert!(
        import
            .stderr
            .contains("line 1: lesson_scheduled_start_at can't be read"),
        "{}",
        import.stderr
    );
    assert_eq!(lake.rows("user_meta", &METAS).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_file_is_refused_and_its_line_is_named() {
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let path = folder.path().join("guide.json");
    std::fs::write(&path, "{\n\"lesson_name\" : \"x\"  // a comment\n}").unwrap();
    let run = Telelake::new(&["meta", "import", path.to_str().unwrap()])
        .lake(&lake)
        .run()
        .await
        .expect(2);
    assert!(
        run.stderr.contains("line 2: a comment: JSON has none, remove it"),
        "{}",
        run.stderr
    );
    assert!(lake.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_push_names_the_line_to_go_on_from() {
    let sim = Simulator::start(Options { rooms: 2, ..small() }).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let metas = sim.school().metas();
    let file = write(folder.path(), "m.jsonl", &metas);
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Meta).nth(4), Failure::Status(422));
    let push = |more: &'static [&'static str]| {
        let mut args = vec!["--log-format", "json", "meta", "push", file.as_str()];
        args.extend(more);
        Telelake::against(&sim, &lake, &args).env("TELELAKE_API__CONCURRENCY", "1")
    };
    let stopped = push(&[]).run().await.expect(3).summary();
    assert_eq!((&stopped["sent"], &stopped["from_line"]), (&json!(3), &json!(4)));
    let rest = push(&["--from-line", "4"]).run().await.expect(0).summary();
    assert_eq!(rest["sent"], metas.len() - 3);
    assert_eq!(sim.metas(), metas);
}

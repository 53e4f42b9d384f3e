//! Secrets in files are read when they are needed, named if they cannot be read, and read again.

use std::path::{Path, PathBuf};

use serde_json::json;
use telelake::simulator::{Endpoint, Failure, Matcher, Simulator};

use super::{SECRET, hold_lesson, send};
use crate::pipeline::{backfill, range, small};
use crate::support::daemon::Plan;
use crate::support::eventually::eventually;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn only_commands_that_need_a_secret_fail_where_its_file_can_not_be_read() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let etc = tempfile::tempdir().unwrap();
    let text = format!(
        "[api]\nbase_url = \"{}\"\ntoken_file = \"token\"\n[serve]\ntoken_file = \"serve-token\"\n[store]\nurl = \"{}\"\n",
        sim.base_url(),
        lake.url()
    );
    let file = put(etc.path(), "telelake.toml", &text).display().to_string();
    let run = |args: &[&str]| Telelake::new(&[&["--config", &file], args].concat()).run();
    for args in [
        &["config", "show"][..],
        &["status"],
        &["verify"],
        &["schema"],
        &["rebuild", "--from", &range[1], "--to", &range[3]],
    ] {
        run(args).await.expect(0);
    }
    let asked = sim.total_count();
    for args in [
        &["run"][..],
        &["backfill", "--from", &range[1], "--to", &range[3]],
        &["serve"],
        &["check"],
        &["webhook", "show"],
    ] {
        let finished = run(args).await.expect(2);
        let said = &finished.stderr;
        assert!(
            said.contains("api.token_file token: there is no such file"),
            "{args:?}: {said}"
        );
        assert!(!said.contains("401"), "{said}");
    }
    put(etc.path(), "token", "");
    let empty = run(&["run"]).await.expect(2);
    assert!(empty.stderr.contains("token: is empty"), "{}", empty.stderr);
    assert_eq!(sim.total_count(), asked, "nothing was asked for");
    put(etc.path(), "token", sim.token());
    // By hand, and by systemd, with the same configuration.
    run(&["webhook", "show"]).await.expect(0);
    std::fs::remove_file(etc.path().join("token")).unwrap();
    let credentials = tempfile::tempdir().unwrap();
    put(credentials.path(), "token", sim.token());
    Telelake::new(&["--config", &file, "webhook", "show"])
        .env("CREDENTIALS_DIRECTORY", &credentials.path().display().to_string())
        .run()
        .await
        .expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_secret_can_not_be_read_is_asked_for_again() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("webhook-secret");
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_WEBHOOK__SECRET", "")
        .env("TELELAKE_WEBHOOK__SECRET_FILE", &file.display().to_string())
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    let event = &lesson.call_finished;
    assert_eq!(send(&daemon, event, SECRET).await, 503);
    let line = daemon
        .logged(|line| {
            line["message"]
                .as_str()
                .unwrap_or_default()
                .contains("answered with 503")
        })
        .await;
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("webhook-secret: there is no such file")
    );
    assert!(!daemon.log().contains("signature is not"));
    let unreadable = "telelake_secrets_unreadable{secret=\"webhook.secret\"}";
    daemon.metric_becomes(unreadable, 1.0).await;
    let counted = "telelake_webhooks_total{event=\"none\",result=\"unreadable\"}";
    assert_eq!(daemon.metric(counted).await, 1.0);
    let told = daemon.json("/api/webhooks").await;
    let space = &told["spaces"][&event.space_id];
    assert_eq!(space["last_refusal"]["why"], "secret_unreadable", "{told}");
    let check = Telelake::against(&sim, &lake, &["check"])
        .env("TELELAKE_WEBHOOK__SECRET_FILE", &file.display().to_string())
        .run()
        .await
        .expect(2);
    assert!(
        check.stdout.contains("FAIL  secrets: webhook.secret_file"),
        "{}",
        check.stdout
    );
    // The platform sends it again, and by then the file exists.
    std::fs::write(&file, SECRET).unwrap();
    assert_eq!(send(&daemon, event, SECRET).await, 200);
    assert_eq!(send(&daemon, event, "another").await, 401);
    let told = daemon.json("/api/webhooks").await;
    let space = &told["spaces"][&event.space_id];
    assert_eq!(space["last_event"]["name"], "call_finished", "{told}");
    assert_eq!((&space["accepted"], &space["refused"]), (&json!(1), &json!(2)));
    assert_eq!(space["last_refusal"]["why"], "signature");
    assert!(space["last_event"]["at"].is_string() && space["last_refusal"]["at"].is_string());
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_rotated_in_the_middle_of_a_run_is_read_again() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let folder = tempfile::tempdir().unwrap();
    let file = put(folder.path(), "token", sim.token());
    let range = range(&sim);
    let command = |name: &str, value: &str| {
        Telelake::against(&sim, &lake, &backfill(&range, &["--force"]))
            .env("TELELAKE_API__TOKEN", "")
            .env("TELELAKE_API__TOKEN_FILE", &file.display().to_string())
            .env(name, value)
    };
    // An answer stalls until the token of its request is no longer valid.
    let stalled = Matcher::endpoint(Endpoint::Report).nth(1);
    sim.faults()
        .order(stalled, Failure::Stall(std::time::Duration::from_secs(5)));
    let child = command("TELELAKE_API__CONCURRENCY", "2").start();
    eventually("a second report is asked for", async || {
        sim.count(Endpoint::Report) >= 2
    })
    .await;
    // The new token is in the file before the old one is refused.
    std::fs::write(&file, "t0ken-after-rotation").unwrap();
    sim.rotate_token("t0ken-after-rotation");
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the token file holds a new one"), "{said}");
    assert!(!said.contains("t0ken-after-rotation"));
    let of_calls = lake.manifests().await.into_iter().flat_map(|day| {
        let calls = day["calls"].as_object().cloned().unwrap_or_default();
        calls.into_iter().map(|(_, call)| call)
    });
    for call in of_calls {
        for report in call["reports"].as_object().unwrap().values() {
            assert_eq!(report["status"], "done", "{call}");
        }
    }
    // A file without a new token does not help.
    sim.rotate_token("yet-another");
    let refused = command("TELELAKE_API__CONCURRENCY", "2").run().await.expect(4);
    assert!(refused.stderr.contains("401"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_all_secrets_again_and_ends_nothing() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let etc = tempfile::tempdir().unwrap();
    put(etc.path(), "token", sim.token());
    put(etc.path(), "serve-token", "the-first-serve-token");
    let rest = "[api]\ntoken_file = \"token\"\n[serve]\ntoken_file = \"serve-token\"\n[webhook]\nsecret = ";
    let file = put(
        etc.path(),
        "telelake.toml",
        &format!("{rest}\"the-first-secret\"\n"),
    );
    let mut daemon = Plan::configured(&lake, &file)
        .env("TELELAKE_API__BASE_URL", &sim.base_url())
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    daemon.token = Some("the-first-serve-token".into());
    assert_eq!(daemon.get("/api/status").await.0, 200);
    assert_eq!(
        send(&daemon, &lesson.call_finished, "the-first-secret").await,
        200
    );

    put(etc.path(), "serve-token", "the-second-serve-token");
    put(
        etc.path(),
        "telelake.toml",
        &format!("{rest}\"the-second-secret\"\n"),
    );
    put(etc.path(), "token", "t0ken-after-rotation");
    sim.rotate_token("t0ken-after-rotation");
    daemon.signal("-HUP");
    let line = daemon
        .audited(
            "reload",
            "api.token changed; serve.token changed; webhook secrets changed",
        )
        .await;
    assert_eq!(line["by"], "signal");
    assert_eq!(daemon.get("/api/status").await.0, 401);
    daemon.token = Some("the-second-serve-token".into());
    assert_eq!(daemon.get("/api/status").await.0, 200);
    assert_eq!(
        send(&daemon, &lesson.record_finished, "the-first-secret").await,
        401
    );
    assert_eq!(
        send(&daemon, &lesson.record_finished, "the-second-secret").await,
        200
    );

    // An unreadable file changes nothing.
    put(etc.path(), "telelake.toml", "[serve]\nlissten = \"x\"\n");
    daemon.signal("-HUP");
    daemon
        .audited("reload", "nothing, because the configuration can't be read")
        .await;
    put(
        etc.path(),
        "telelake.toml",
        &format!("{rest}\"the-second-secret\"\n"),
    );
    std::fs::remove_file(etc.path().join("serve-token")).unwrap();
    daemon.signal("-HUP");
    daemon
        .audited("reload", "serve.token could not be replaced")
        .await;
    assert_eq!(daemon.get("/api/status").await.0, 200, "the one in force stays");
    daemon
        .metric_becomes("telelake_secrets_unreadable{secret=\"serve.token\"}", 1.0)
        .await;
    for secret in [
        "serve-token-",
        "the-first-secret",
        "the-second-secret",
        "t0ken-after-rotation",
    ] {
        assert!(!daemon.log().contains(secret), "{secret}");
    }
    daemon.kill().await;
}

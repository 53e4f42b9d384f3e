//! `webhook` installs, shows, rotates and removes, while a daemon loses no event.

use telelake::simulator::{Options, Simulator};

use super::{hold_lesson, send};
use crate::pipeline::small;
use crate::support::daemon::Plan;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_installed_rotated_and_removed_without_losing_an_event() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let space = lesson.call_finished.space_id.clone();
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    let dir = secrets.display().to_string();
    let webhook = |args: &[&str]| {
        Telelake::against(&sim, &lake, &[&["webhook"], args].concat())
            .env("TELELAKE_WEBHOOK__SECRETS_DIR", &dir)
    };
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_WEBHOOK__SECRET", "")
        .env("TELELAKE_WEBHOOK__SECRETS_DIR", &dir)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    let url = daemon.url("/webhooks/teleboss");
    let made = webhook(&["install", "--url", &url]).run().await.expect(0);
    let first = sim.webhook(&space).unwrap();
    assert_eq!(first.url, url);
    let kept = std::fs::read_to_string(secrets.join(&space)).unwrap();
    assert_eq!(kept.trim(), first.secret);
    assert!(
        made.stdout.contains(&secrets.join(&space).display().to_string()),
        "{}",
        made.stdout
    );
    assert_eq!(sim.send_webhook(&lesson.call_finished).await.unwrap(), 200);
    // A second install changes nothing.
    let again = webhook(&["install", "--url", &url]).run().await.expect(0);
    assert!(again.stdout.contains("was there already"), "{}", again.stdout);
    assert_eq!(sim.webhook(&space).unwrap(), first);

    let rotated = webhook(&["rotate-secret"]).run().await.expect(0);
    let second = sim.webhook(&space).unwrap();
    assert_ne!(second.secret, first.secret);
    // An event signed before the rotation is accepted; after one with the new secret, the old secret is refused.
    assert_eq!(send(&daemon, &lesson.call_finished, &first.secret).await, 200);
    assert_eq!(sim.send_webhook(&lesson.record_finished).await.unwrap(), 200);
    assert_eq!(send(&daemon, &lesson.call_finished, &first.secret).await, 401);

    let shown = webhook(&["show"]).run().await.expect(0);
    assert!(shown.stdout.contains(&url), "{}", shown.stdout);
    let printed = webhook(&["rotate-secret", "--print-secret"])
        .run()
        .await
        .expect(0);
    let third = sim.webhook(&space).unwrap();
    assert!(printed.stdout.contains(&third.secret));
    for silent in [&made, &again, &rotated, &shown] {
        let text = format!("{}{}", silent.stdout, silent.stderr);
        assert!(
            ![&first, &second, &third]
                .iter()
                .any(|webhook| text.contains(&webhook.secret)),
            "{text}"
        );
    }
    assert_eq!(sim.send_webhook(&lesson.call_finished).await.unwrap(), 200);

    webhook(&["remove"]).run().await.expect(0);
    assert_eq!(sim.webhook(&space), None);
    assert!(!secrets.join(&space).exists());
    assert_eq!(send(&daemon, &lesson.call_finished, &third.secret).await, 401);
    let shown = webhook(&["show"]).run().await.expect(0);
    assert!(shown.stdout.contains("no webhook"), "{}", shown.stdout);
    assert!(!daemon.log().contains(&first.secret));
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_command_is_refused_before_a_secret_is_lost() {
    let sim = Simulator::start(Options { spaces: 2, ..small() }).await.unwrap();
    let lake = Lake::folder();
    let webhook = |args: &[&str]| Telelake::against(&sim, &lake, &[&["webhook"], args].concat());
    let url = "https://lake.example/webhooks/teleboss";
    // There is no place for the secret.
    let refused = webhook(&["install", "--url", url]).run().await.expect(2);
    assert!(
        refused.stderr.contains("webhook.secrets_dir"),
        "{}",
        refused.stderr
    );
    webhook(&["install", "--url", "lake.example"])
        .run()
        .await
        .expect(2);
    assert_eq!(sim.total_count(), 0);
    // Nothing to rotate, and an unknown space.
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().display().to_string();
    let with_dir = |args: &[&str]| webhook(args).env("TELELAKE_WEBHOOK__SECRETS_DIR", &dir).run();
    with_dir(&["rotate-secret"]).await.expect(4);
    with_dir(&["show", "--space", "0123456789abcdef01234567"])
        .await
        .expect(4);
    // Only the first of two spaces.
    let spaces: Vec<String> = sim.school().spaces.iter().map(|space| space.id.clone()).collect();
    let made = with_dir(&["--space", &spaces[1], "install", "--url", url])
        .await
        .expect(0);
    assert!(made.stdout.contains(&spaces[1]) && !made.stdout.contains(&spaces[0]));
    assert!(sim.webhook(&spaces[0]).is_none() && sim.webhook(&spaces[1]).is_some());
    // Without a folder, only when it is asked for; elsewhere than before, with the secret as it is.
    let printed = webhook(&["install", "--url", url, "--print-secret"])
        .run()
        .await
        .expect(0);
    assert!(printed.stdout.contains(&sim.webhook(&spaces[0]).unwrap().secret));
    let before = sim.webhook(&spaces[1]).unwrap().secret;
    let moved = "https://elsewhere.example/webhooks/teleboss";
    with_dir(&["install", "--url", moved, "--space", &spaces[1]])
        .await
        .expect(0);
    let after = sim.webhook(&spaces[1]).unwrap();
    assert_eq!((after.url.as_str(), after.secret), (moved, before));
}

//! Bad input and failing services give one clear line and the right exit status.

use telelake::simulator::{Endpoint, Failure, Matcher, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// The line that an operator reads, without times and addresses, which differ between runs.
fn last_line(finished: &Finished) -> String {
    let today = chrono::Utc::now().date_naive().to_string();
    let line = finished.stderr.lines().last().unwrap_or_default();
    line.replace(&today, "<today>")
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_found_before_any_request() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let ok = ["--from", "2025-03-03", "--to", "2025-03-04"];
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Telelake::against(&sim, &lake, args);
        for (name, value) in env {
            command = command.env(name, value);
        }
        command.run()
    };
    let with = |extra: &'static [&'static str]| [&["backfill"], &ok[..], extra].concat();
    let mut lines = Vec::new();
    for (args, env) in [
        (with(&[]), ("TELELAKE_API__TOKEN", "")),
        (with(&[]), ("TELELAKE_API__TOKN", "x")),
        (with(&[]), ("TELELAKE_TIMEZONE", "Mars/Base")),
        (with(&[]), ("TELELAKE_STORE__URL", "ftp://x")),
        (with(&[]), ("TELELAKE_STORE__S3__PART_SIZE", "1MiB")),
        (with(&[]), ("TELELAKE_CONFIG", "/does/not/exist.toml")),
        (
            vec!["backfill", "--from", "2025-03-04", "--to", "2025-03-03"],
            ("X", ""),
        ),
        (
            vec!["backfill", "--from", "2999-01-01", "--to", "2999-01-02"],
            ("X", ""),
        ),
        (
            vec!["status", "--from", "2025-03-04", "--to", "2025-03-03"],
            ("X", ""),
        ),
    ] {
        let finished = run(&args, &[env]).await.expect(2);
        assert_eq!(finished.stdout, "");
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        lines.push(last_line(&finished));
    }
    for args in [
        vec!["backfill", "--from", "04.03.2025", "--to", "2025-03-03"],
        vec!["backfill", "--from", "2025-02-30", "--to", "2025-03-03"],
        vec!["backfill", "--to", "2025-03-03"],
        vec!["frobnicate"],
    ] {
        let finished = run(&args, &[]).await.expect(2);
        lines.push(finished.stderr.lines().next().unwrap_or_default().to_owned());
    }
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(sim.total_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_out_of_reach_is_status_4_with_the_way_out() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    let args = backfill(&range, &[]);
    let mut lines = Vec::new();
    let mut expect = |finished: Finished| {
        let finished = finished.expect(4);
        lines.push(last_line(&finished));
    };
    expect(
        Telelake::against(&sim, &lake, &args)
            .env("TELELAKE_API__TOKEN", "wr0ng-t0ken")
            .run()
            .await,
    );
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Spaces), Failure::Html);
    expect(Telelake::against(&sim, &lake, &args).run().await);
    sim.faults().clear();
    sim.edit(|school| school.spaces.clear());
    expect(Telelake::against(&sim, &lake, &args).run().await);
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_a_file = format!("file://{}/lake", file.path().display());
    expect(
        Telelake::against(&sim, &lake, &args)
            .env("TELELAKE_STORE__URL", &below_a_file)
            .run()
            .await,
    );
    let s3 = Lake::s3().await;
    expect(
        Telelake::against(&sim, &s3, &args)
            .env("TELELAKE_STORE__URL", "s3://no-such-bucket/lake")
            .run()
            .await,
    );
    expect(
        Telelake::against(&sim, &s3, &args)
            .env("AWS_SECRET_ACCESS_KEY", "wrong")
            .run()
            .await,
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    expect(
        Telelake::against(&sim, &lake, &args)
            .env("TELELAKE_API__BASE_URL", &format!("http://{free}/v1"))
            .env("TELELAKE_API__RETRIES", "0")
            .run()
            .await,
    );
    let text = lines.join("\n");
    assert!(!text.contains("wr0ng-t0ken"));
    let weed = crate::support::weed::started();
    let Lake::S3 { bucket, .. } = &s3 else {
        unreachable!()
    };
    let text = text
        .replace(bucket.as_str(), "BUCKET")
        .replace(&sim.address().to_string(), "SIMULATOR")
        .replace(&free.to_string(), "NOBODY")
        .replace(&weed.http, "http://S3")
        .replace(&file.path().display().to_string(), "FILE");
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_refused_in_the_middle_ends_the_run_and_keeps_what_landed() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let reports = sim.school().calls.len() as u64;
    for nth in reports..2 * reports {
        sim.faults()
            .order(Matcher::endpoint(Endpoint::Report).nth(nth), Failure::Status(401));
    }
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(4);
    let landed = lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("raw/reports/"))
        .count();
    let known: usize = lake
        .manifests()
        .await
        .iter()
        .flat_map(|day| {
            day["calls"]
                .as_object()
                .unwrap()
                .values()
                .cloned()
                .collect::<Vec<_>>()
        })
        .map(|call| {
            call["reports"]
                .as_object()
                .unwrap()
                .values()
                .filter(|report| report["status"] == "done")
                .count()
        })
        .sum();
    assert!(landed > 0);
    assert_eq!(known, landed, "what was landed is committed");
    sim.faults().clear();
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    crate::support::truth::assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timezone_other_than_that_of_the_lake_is_refused() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let finished = Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .env("TELELAKE_TIMEZONE", "Europe/Moscow")
        .run()
        .await
        .expect(2);
    assert!(last_line(&finished).contains("timezone"), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_and_no_secret_is_in_logs_errors_manifest_of_runs_and_summaries() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    sim.faults().order(Matcher::any().every(7), Failure::Status(500));
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Blob).first(2), Failure::ExpireLink);
    let range = range(&sim);
    let mut args = backfill(&range, &[]);
    args.insert(0, "-vv");
    let run = Telelake::against(&sim, &lake, &args).run().await;
    let mut text = format!("{}{}", run.stdout, run.stderr);
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("_telelake/"))
    {
        text.push_str(&String::from_utf8_lossy(&lake.get(&key).await));
    }
    let status = Telelake::against(&sim, &lake, &["status", "--json"]).run().await;
    text.push_str(&status.stdout);
    let mut secrets = vec![sim.token().to_owned(), "/blob/".to_owned()];
    for call in &sim.school().calls {
        secrets.extend(call.messages.iter().map(|message| message.text.clone()));
        for person in &call.participants {
            secrets.push(person.name.clone());
            secrets.extend([&person.email, &person.phone].into_iter().flatten().cloned());
        }
    }
    // Short texts, such as a "+" in the chat, occur everywhere.
    for secret in secrets.into_iter().filter(|secret| secret.chars().count() > 5) {
        assert!(!text.contains(&secret), "{secret} leaked");
    }
}

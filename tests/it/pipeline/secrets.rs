//! No secret and no personal data in logs, errors, summaries and state: a run in which everything fails is searched for
//! everything that must not be there.

use telelake::simulator::{Endpoint, Failure, Matcher, Oddities, Options, RetryAfter, Simulator};

use super::{range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

const TOKEN: &str = "p3rs0nal-t0ken-0f-the-sch00l";
const WEBHOOK: &str = "webh00k-s3cret-0f-the-sch00l";
/// An error message of the API with data of a person.
const SAID: &str = "Пользователь said-mail@school.example, +7 (999) 765-43-21, Bearer p3rs0nal-t0ken-0f-the-sch00l: нет доступа \
    к https://blob.example/r.mp4?X-Amz-Signature=s1gnature-said";

/// Marks every person and every text, so that they can be found in any output.
fn mark(sim: &Simulator) {
    sim.edit(|school| {
        let mut number = 0;
        for call in &mut school.calls {
            for person in &mut call.participants {
                number += 1;
                person.name = format!("Секретова Личность {number}");
                person.email = Some(format!("secret-mail-{number}@school.example"));
                person.phone = Some(format!("+7999555{number:04}"));
            }
            for message in &mut call.messages {
                message.text = format!("тайные слова {number}");
            }
        }
    });
}

/// The marks of [`mark`], and all other texts that must not appear.
fn secrets(sim: &Simulator) -> Vec<String> {
    let mut secrets: Vec<_> = [
        TOKEN,
        WEBHOOK,
        "Секретова",
        "secret-mail-",
        "+7999555",
        "тайные слова",
        "/blob/",
        "s1gnature",
        "said-mail",
        "765-43-21",
        "Metova",
    ]
    .map(str::to_owned)
    .to_vec();
    let links = sim
        .requests()
        .into_iter()
        .filter(|seen| seen.endpoint == Endpoint::Blob);
    secrets.extend(links.map(|seen| {
        seen.path
            .trim_start_matches("/blob/")
            .trim_end_matches(".mp4")
            .to_owned()
    }));
    secrets
}

fn disturb(sim: &Simulator) {
    let faults = sim.faults();
    faults.order(Matcher::endpoint(Endpoint::Blob).first(2), Failure::ExpireLink);
    faults.order(Matcher::endpoint(Endpoint::Blob).every(3), Failure::CutBody(1000));
    faults.order(Matcher::endpoint(Endpoint::Blob).every(5), Failure::Html);
    let link = b"https://127.0.0.1:1/r.mp4?X-Amz-Signature=s1gnature-of-a-link".to_vec();
    faults.order(Matcher::endpoint(Endpoint::Link).every(4), Failure::Bytes(link));
    let bad = b"see https://blob.example/?X-Amz-Signature=s1gnature-in-words for +79995550001".to_vec();
    faults.order(Matcher::endpoint(Endpoint::Link).every(5), Failure::Bytes(bad));
    faults.order(
        Matcher::endpoint(Endpoint::Report).every(6),
        Failure::Message(403, SAID.into()),
    );
    faults.order(
        Matcher::endpoint(Endpoint::Records).every(6),
        Failure::Message(422, SAID.into()),
    );
    faults.order(
        Matcher::endpoint(Endpoint::Meta),
        Failure::Message(422, SAID.into()),
    );
    let mixed = vec![
        Failure::Status(500),
        Failure::BadGateway,
        Failure::Reset,
        Failure::CutBody(200),
        Failure::TooMany(RetryAfter::Unsaid),
        Failure::Message(500, SAID.into()),
    ];
    faults.order_mixed(Matcher::any().every(4), mixed);
}

/// The searched texts: the output of processes and the program's own objects. Only lesson days and their index
/// hold personal data by design, and only they are left out.
async fn searched(lake: &Lake, said: &[Finished]) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (number, finished) in said.iter().enumerate() {
        texts.push((format!("stdout of process {number}"), finished.stdout.clone()));
        texts.push((format!("stderr of process {number}"), finished.stderr.clone()));
    }
    for key in lake.keys().await.into_keys() {
        if key.starts_with("_telelake/") && !key.starts_with("_telelake/meta/") {
            texts.push((
                key.clone(),
                String::from_utf8_lossy(&lake.get(&key).await).into_owned(),
            ));
        }
    }
    texts
}

/// Damages a lesson day at the name of a person.
async fn damage_lesson_day(lake: &Lake) {
    let keys = lake.keys().await;
    let day = keys
        .keys()
        .find(|key| key.starts_with("_telelake/meta/shelves/"))
        .unwrap();
    let Lake::Folder(root) = lake else { unreachable!() };
    let text = zstd::decode_all(&*std::fs::read(root.path().join(day)).unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let damaged = text.replacen("\"meta\":{", "\"meta\":[\"Metova\"],\"x\":{", 1);
    assert_ne!(damaged, text);
    let packed = zstd::encode_all(damaged.as_bytes(), 3).unwrap();
    std::fs::write(root.path().join(day), packed).unwrap();
}

/// Files of lesson data: a good one, and some with an error in the middle of personal data.
fn meta_files(sim: &Simulator, folder: &std::path::Path) -> Vec<String> {
    let metas: String = sim
        .school()
        .metas()
        .iter()
        .map(|meta| format!("{meta}\n"))
        .collect();
    let good = metas.replace("Секретова", "Metova");
    let cut = format!(
        "{}{{\"externalUserId\":\"secret-mail-1@school.example\",\"meta\":{{\"user_fullname\":\"Metova",
        good
    );
    let wrong = "{\"externalUserId\":\"u\",\"externalMeetingId\":\"m\",\"meta\":\"Metova\"}".to_owned();
    let binary = format!("{}\u{0}", "Metova +79995550001 ".repeat(3));
    [
        ("good.jsonl", good),
        ("cut.jsonl", cut),
        ("wrong.json", wrong),
        ("binary", binary),
    ]
    .map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    })
    .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_person_is_in_logs_errors_summaries_and_state() {
    let folder = tempfile::tempdir().unwrap();
    let sim = Simulator::start(Options {
        token: TOKEN.into(),
        rooms: 6,
        odd: Oddities::all(),
        recording_size: 50_000,
        recorded: 1.0,
        ..small()
    })
    .await
    .unwrap();
    mark(&sim);
    let lake = Lake::folder();
    let files = meta_files(&sim, folder.path());
    let range = range(&sim);
    let all = ["backfill", &range[0], &range[1], &range[2], &range[3]];
    let mut said = Vec::new();
    let run = async |args: &[&str], token: &str| {
        Telelake::against(&sim, &lake, args)
            .env("TELELAKE_API__TOKEN", token)
            .env("TELELAKE_API__RETRIES", "1")
            .env("TELELAKE_WEBHOOK__SECRET", WEBHOOK)
            .run()
            .await
    };
    disturb(&sim);
    for format in ["text", "json"] {
        let with = |more: &[&'static str]| [&["--log-format", format, "-vv"], more].concat();
        let over_all = |more: &[&'static str]| [&["--log-format", format, "-vv"], &all[..], more].concat();
        for file in &files {
            said.push(run(&["--log-format", format, "-vv", "meta", "import", file], TOKEN).await);
        }
        said.push(run(&["--log-format", format, "-vv", "meta", "push", &files[0]], TOKEN).await);
        said.push(run(&over_all(&["--force"]), TOKEN).await);
        for command in [
            &["run"][..],
            &["status"],
            &["status", "--json"],
            &["check"],
            &["config", "show"],
        ] {
            said.push(run(&with(command), TOKEN).await);
        }
        // A refused token is as secret as a valid one.
        let refused = run(&with(&["run"]), "p3rs0nal-t0ken-0f-the-sch00l-0ld").await;
        said.push(refused.expect(4));
    }
    // The searched texts are in the data, where they belong.
    assert!(
        lake.rows("participants", &["name"])
            .await
            .iter()
            .any(|row| row["name"].contains("Секретова"))
    );
    assert!(
        lake.rows("user_meta", &["user_fullname"])
            .await
            .iter()
            .any(|row| row["user_fullname"].contains("Metova"))
    );
    damage_lesson_day(&lake).await;
    for args in [&["meta", "import", files[0].as_str()][..], &all] {
        said.push(run(args, TOKEN).await);
    }
    let failures = said.iter().filter(|finished| finished.status != 0).count();
    assert!(failures > 8, "hardly anything went wrong: {failures}");
    for (place, text) in searched(&lake, &said).await {
        for secret in secrets(&sim) {
            assert!(
                !text.contains(&secret),
                "{secret} is in {place}:\n{}",
                around(&text, &secret)
            );
        }
    }
}

/// The text around a match.
fn around(text: &str, secret: &str) -> String {
    text.lines()
        .find(|line| line.contains(secret))
        .unwrap_or_default()
        .chars()
        .take(600)
        .collect()
}

//! The files of `deploy/` parse, name existing things, and ask for metrics that the program serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use telelake::config::{Config, Source};
use telelake::simulator::Simulator;

use crate::pipeline::{backfill, range, small};
use crate::support::daemon::Plan;
use crate::support::eventually::eventually_some;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// The memory that each deployment grants, which is the same for all.
const MEMORY: &str = "2Gi";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap()
}

fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_deployment_grants_enough_memory_for_the_defaults() {
    let config = Config::default();
    let s3 = &config.store.s3;
    // Reports, the process besides, and the parts of recordings on their way: see the example of the configuration.
    let parts = (s3.parts_in_flight as u64 + 4) * s3.part_size.as_u64();
    let needed = config.export.memory.as_u64() + (150 << 20) + parts;
    let granted = MEMORY.strip_suffix("Gi").unwrap().parse::<u64>().unwrap() << 30;
    assert!(needed < granted * 3 / 4, "{needed} of {granted}");
}

/// The names of metrics in an expression or a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !is_part(c))
        .filter(|word| word.starts_with("telelake_"))
        .map(str::to_owned)
        .collect()
}

/// The names in `/metrics`: of samples, and of families without samples.
fn served(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => {
                let (name, kind) = family.split_once(' ').unwrap();
                let suffixes: &[&str] = match kind {
                    "counter" => &["_total"],
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                names.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
            }
            None if line.starts_with('#') => {}
            None => {
                let end = line.find(['{', ' ']).unwrap();
                assert!(names.contains(&line[..end]), "a sample without a family: {line}");
            }
        }
    }
    names
}

fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(object) => object.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// The metrics of an expression, each with the labels that its selector or aggregation names.
fn labels_in(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("telelake_") {
        let rest = &expression[at..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let selector = after.strip_prefix('{').and_then(|inner| inner.split('}').next());
        let labels = selector.unwrap_or_default().split(',');
        let labels = labels.filter_map(|pair| pair.split(['=', '!']).next());
        let labels = labels.map(str::trim).filter(|label| !label.is_empty());
        found.push((name.to_owned(), labels.map(str::to_owned).collect()));
    }
    found
}

/// The labels of each metric, and those that the scraper adds.
fn labels_served(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = all.entry(name.to_owned()).or_default();
        labels.extend(["job", "instance"].map(str::to_owned));
        // `name="value",…`: take the text before each `="`.
        let inner = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        let named = inner.unwrap_or_default().split("=\"");
        let named = named.map(|part| part.rsplit(['"', ',']).next().unwrap_or_default());
        labels.extend(named.filter(|label| !label.is_empty()).map(str::to_owned));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_use_only_served_metrics() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCHEDULE__CRON", "* * * * * *")
        .env("TELELAKE_NOTIFY__URL", "http://127.0.0.1:9/hooks")
        .start()
        .await;
    daemon.ended("run", 0).await;
    assert_eq!(daemon.post("/webhooks/teleboss", "{}").await.0, 400);
    assert_eq!(daemon.post("/api/notify-test", "{}").await.0, 502);
    let unreadable = "telelake_secrets_unreadable{secret=\"webhook.secret\"} 0";
    let (status, text) = eventually_some("all metrics are served", async || {
        let (status, text) = daemon.get("/metrics").await;
        (text.contains(unreadable) && text.contains("telelake_pending{")).then_some((status, text))
    })
    .await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"));
    let (served, labels) = (served(&text), labels_served(&text));
    daemon.kill().await;
    let alerts = documents("prometheus/alerts.yaml");
    let rules = alerts[0]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 5);
    for rule in rules {
        for key in ["alert", "expr"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        assert!(
            rule["annotations"]["action"].is_string(),
            "what is to be done? {rule}"
        );
        for (metric, named) in labels_in(rule["expr"].as_str().unwrap()) {
            for label in named {
                let known = labels.get(&metric).is_some_and(|known| known.contains(&label));
                assert!(known, "{metric} has no label {label}: {:?}", labels.get(&metric));
            }
        }
    }
    let named = |alert: &str| rules.iter().any(|rule| rule["alert"] == alert);
    for alert in [
        "NoSuccess",
        "RunsNotDone",
        "NotBuilt",
        "Paused",
        "SecretUnreadable",
        "NotNotified",
    ] {
        assert!(named(&format!("Telelake{alert}")), "{alert}");
    }
    // The cases of `promtool test rules` name existing alerts.
    let tests = documents("prometheus/alerts.test.yaml").remove(0);
    for case in tests["tests"].as_array().unwrap() {
        for alert in case["alert_rule_test"].as_array().unwrap() {
            assert!(named(alert["alertname"].as_str().unwrap()), "{alert}");
        }
    }
    let dashboard: Value = serde_json::from_str(&read("grafana/telelake.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
    for (what, tree) in [("alerts", &alerts[0]), ("dashboard", &dashboard)] {
        let mut texts = Vec::new();
        strings(tree, &mut texts);
        let named: BTreeSet<String> = texts.into_iter().flat_map(metrics_in).collect();
        assert!(named.len() > 5, "{what}: {named:?}");
        let unknown: Vec<_> = named.difference(&served).collect();
        assert!(
            unknown.is_empty(),
            "{what} asks for {unknown:?}; there are {served:?}"
        );
    }
}

#[test]
fn kubernetes_runs_without_rights_and_with_a_valid_configuration() {
    let documents: Vec<Value> = ["kubernetes/deployment.yaml", "kubernetes/cronjob.yaml"]
        .into_iter()
        .flat_map(documents)
        .collect();
    let kinds: Vec<&str> = documents
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "Secret",
            "Secret",
            "ConfigMap",
            "Deployment",
            "Service",
            "CronJob"
        ]
    );
    for pod in [
        &documents[3]["spec"]["template"]["spec"],
        &documents[5]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    ] {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        // The program ends within 10 s.
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > 10);
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
        assert_eq!(container["resources"]["limits"]["memory"], MEMORY);
    }
    let container = &documents[3]["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["path"], "/healthz");
    }
    // The configuration loads, with its files of secrets where they are mounted.
    let mounted = tempfile::tempdir().unwrap();
    for key in ["token", "serve-token"] {
        assert!(documents[0]["stringData"][key].is_string());
        std::fs::write(mounted.path().join(key), "a-long-random-text-0123").unwrap();
    }
    let text = documents[2]["data"]["telelake.toml"]
        .as_str()
        .unwrap()
        .replace("/etc/telelake-secret", &mounted.path().display().to_string());
    let file = mounted.path().join("telelake.toml");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(&Source {
        file: Some(file),
        env: Vec::new(),
        ..Source::default()
    })
    .unwrap();
    config.require_listen().unwrap();
}

#[test]
fn compose_sets_only_known_keys() {
    let compose = documents("compose/compose.yaml").remove(0);
    let service = &compose["services"]["telelake"];
    assert_eq!(service["read_only"], true);
    assert_eq!(service["cap_drop"][0], "ALL");
    assert_eq!(service["mem_limit"], MEMORY.trim_end_matches('i').to_lowercase());
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a-long-random-text-0123").unwrap();
    let env = service["environment"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("TELELAKE_"))
        .map(|(name, value)| {
            let value = value.as_str().unwrap();
            let value = if value.starts_with("/run/secrets/") {
                secret.display().to_string()
            } else {
                value.to_owned()
            };
            (name.clone(), value)
        })
        .collect();
    let config = Config::load(&Source {
        env,
        ..Source::default()
    })
    .unwrap();
    config.require_listen().unwrap();
    assert!(config.store.url.starts_with("s3://"));
    for name in ["token", "serve-token"] {
        assert!(compose["secrets"][name].is_object());
    }
}

/// The settings of a unit that confine it, without comments.
fn confinement(unit: &str) -> BTreeSet<&str> {
    let wanted = |line: &&str| {
        !line.starts_with('#')
            && [
                "Protect",
                "Private",
                "Restrict",
                "SystemCall",
                "Memory",
                "Limit",
                "Capability",
                "NoNew",
                "Lock",
                "Remove",
            ]
            .iter()
            .any(|start| line.starts_with(start))
            && !line.starts_with("RestartPrevent")
    };
    unit.lines().filter(wanted).collect()
}

#[test]
fn both_units_are_equally_confined_and_write_no_core_dump() {
    let units = ["telelake", "telelake-run"].map(|name| read(&format!("systemd/{name}.service")));
    for (unit, command) in units.iter().zip([" serve", " run"]) {
        let start = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert!(start.ends_with(command), "{start}");
    }
    let [daemon, run] = units.each_ref().map(|unit| confinement(unit));
    assert_eq!(daemon, run);
    for setting in [
        "LimitCORE=0",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectProc=invisible",
        "SystemCallFilter=@system-service",
    ] {
        assert!(daemon.contains(setting), "{setting}");
    }
    assert!(daemon.contains(format!("MemoryMax={}", MEMORY.trim_end_matches('i')).as_str()));
    for setting in ["SuccessExitStatus=3", "Type=notify", "kill -HUP $MAINPID"] {
        assert!(units[0].contains(setting), "{setting}");
    }
    assert!(read("systemd/telelake-run.timer").contains("Persistent=true"));
}

#[test]
fn the_crontab_uses_existing_paths_and_arguments() {
    let table = read("cron.d/telelake");
    let lines: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
    let path = lines.iter().find_map(|line| line.strip_prefix("PATH=")).unwrap();
    assert!(path.split(':').any(|folder| folder == "/usr/local/bin"));
    let fields: Vec<&str> = lines.last().unwrap().split_whitespace().collect();
    assert_eq!(fields[5], "telelake", "the user");
    assert!(
        fields
            .windows(3)
            .any(|words| words == ["telelake", "--quiet", "run"])
    );
    // Cron reads a percent sign as a line break.
    assert!(!table.contains('%'));
}

#[test]
fn the_image_uses_the_pinned_rust_and_a_health_check() {
    let root = folder().join("..");
    let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let dockerfile = text("Dockerfile");
    let manifest: toml::Table = toml::from_str(&text("Cargo.toml")).unwrap();
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(
        dockerfile.contains(&format!("FROM rust:{rust}-bookworm ")),
        "{rust}"
    );
    assert!(text("rust-toolchain.toml").contains(&format!("channel = \"{rust}.")));
    assert!(dockerfile.contains("|| telelake health || exit 1") && dockerfile.contains("USER 10001:10001"));
    // Only files that are built go into the context.
    assert_eq!(
        text(".dockerignore").lines().collect::<Vec<_>>(),
        ["*", "!src", "!.cargo", "!config", "!Cargo.toml", "!Cargo.lock"]
    );
}

/// Runs Python of `make tools`, and shows its output if it fails.
fn python(args: &[&str]) {
    let python = folder().join("../.tools/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run `make tools`",
        python.display()
    );
    let output = std::process::Command::new(python).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn kubernetes_and_compose_files_match_their_schemas() {
    let path = |name: &str| folder().join(name).display().to_string();
    // The oldest version that knows `timeZone` for good, and the newest.
    for version in ["1.27", "1.37"] {
        let (daemon, nightly) = (
            path("kubernetes/deployment.yaml"),
            path("kubernetes/cronjob.yaml"),
        );
        python(&[
            "-m",
            "kubernetes_validate",
            "--strict",
            "-k",
            version,
            &daemon,
            &nightly,
        ]);
    }
    // `backoffLimitPerIndex` came later.
    for version in ["1.29", "1.37"] {
        let backfill = path("kubernetes/backfill-indexed-job.yaml");
        python(&["-m", "kubernetes_validate", "--strict", "-k", version, &backfill]);
    }
    let validate =
        "import sys, compose_spec; compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read()).validate()";
    python(&["-c", validate, &path("compose/compose.yaml")]);
}

#[test]
fn the_requests_of_aws_batch_match_its_api() {
    let validate = "\
import json, sys, botocore.session, botocore.validate
api = botocore.session.get_session().get_service_model('batch')
request = json.load(open(sys.argv[2]))
report = botocore.validate.ParamValidator().validate(request, api.operation_model(sys.argv[1]).input_shape)
sys.exit(report.generate_report() or None)";
    for (operation, file) in [
        ("RegisterJobDefinition", "aws-batch/job-definition.json"),
        ("SubmitJob", "aws-batch/submit-job.json"),
    ] {
        python(&[
            "-c",
            validate,
            operation,
            &folder().join(file).display().to_string(),
        ]);
    }
}

/// An engine's number of shards stands in several places of a file, or of two.
#[test]
fn the_number_of_shards_is_the_same_wherever_a_file_names_it() {
    let job = read("kubernetes/backfill-indexed-job.yaml");
    let after = |text: &str, name: &str| {
        let rest = text
            .split_once(name)
            .unwrap_or_else(|| panic!("{name} is missing"))
            .1;
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let names = [
        "completions: ",
        "parallelism: ",
        "maxFailedIndexes: ",
        "TELELAKE_SHARDS, value: \"",
    ];
    let numbers = names.map(|name| after(&job, name));
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    // The variables that `--shard auto` reads are those that the engines set.
    assert!(job.contains("backfill\", \"--shard\", \"auto\""));
    let script = read("slurm/backfill.sh");
    assert_eq!(after(&script, "--array=0-"), "3");
    assert!(script.contains("TELELAKE_SHARDS=4"));
}

/// `make try-deploy` runs the blocks of the text by name, so that each block has a name and no command is outside.
#[test]
fn every_block_of_commands_in_the_walkthrough_is_tried() {
    let (text, script) = (read("README.md"), read("try.sh"));
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("```"))
        .filter(|info| !info.is_empty())
        .map(|info| info.strip_prefix("sh ").unwrap_or_else(|| panic!("```{info}")))
        .collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert!(names.len() > 10 && unique.len() == names.len(), "{names:?}");
    // The actions of the script belong to existing blocks.
    for line in script.lines() {
        let hook = ["before_", "after_"]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        if let Some((name, _)) = hook.and_then(|rest| rest.split_once("()")) {
            assert!(unique.contains(name.replace('_', "-").as_str()), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_asks_the_daemon() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    let address = daemon.base.strip_prefix("http://").unwrap().to_owned();
    let port = address.rsplit_once(':').unwrap().1;
    // It needs neither the token of the API nor a reachable store.
    let ask = |listen: String| {
        Telelake::new(&["health"])
            .env("TELELAKE_SERVE__LISTEN", &listen)
            .env("HTTP_PROXY", "http://127.0.0.1:1")
    };
    let alive = ask(address.clone()).run().await.expect(0);
    assert!(alive.stdout.contains("alive"), "{}", alive.stdout);
    ask(format!("0.0.0.0:{port}")).run().await.expect(0);
    daemon.kill().await;
    let dead = ask(address).run().await.expect(1);
    assert!(dead.stderr.contains("Connection refused"), "{}", dead.stderr);
    // The answer of another program is refused.
    let other = sim.base_url();
    let other = other
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let refused = ask(other.unwrap().to_owned()).run().await.expect(1);
    assert!(refused.stderr.contains("not the daemon"), "{}", refused.stderr);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_when_the_daemon_is_ready() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let plan = Plan::new(&sim, &lake).env("NOTIFY_SOCKET", &path.display().to_string());
    let (daemon, told) = tokio::join!(plan.start(), async {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    });
    assert_eq!(told.trim(), "READY=1");
    assert_eq!(daemon.get("/healthz").await.0, 200);
    daemon.kill().await;
}

/// The daemon's user must be able to read the files that root makes by `check` and `webhook install`. The test needs root.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn files_that_root_makes_belong_to_the_user_of_the_daemon() {
    use std::os::unix::fs::{MetadataExt, chown};
    const SERVICE: (u32, u32) = (12_345, 12_346);
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let secrets = tempfile::tempdir().unwrap();
    let Lake::Folder(folder) = &lake else {
        unreachable!()
    };
    for path in [folder.path(), secrets.path()] {
        if chown(path, Some(SERVICE.0), Some(SERVICE.1)).is_err() {
            return;
        }
    }
    let of_root = |args: &[&str]| {
        Telelake::against(&sim, &lake, args).env(
            "TELELAKE_WEBHOOK__SECRETS_DIR",
            &secrets.path().display().to_string(),
        )
    };
    of_root(&["check"]).run().await.expect(0);
    of_root(&[
        "webhook",
        "install",
        "--url",
        "https://lake.example.org/webhooks/teleboss",
    ])
    .run()
    .await
    .expect(0);
    of_root(&backfill(&range(&sim), &[])).run().await.expect(0);
    let mut folders = vec![folder.path().to_owned(), secrets.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let owner = (metadata.uid(), metadata.gid());
            assert_eq!(owner, SERVICE, "{}", entry.path().display());
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    assert!(files > 10, "{files} files");
}

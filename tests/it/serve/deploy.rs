//! What lies in `deploy/`: it parses, it names what there is, and it asks for what the program serves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use telelake::config::{Config, Source};
use telelake::simulator::Simulator;

use crate::export::small;
use crate::support::daemon::Plan;
use crate::support::lake::Lake;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap()
}

fn documents(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of metrics in an expression or a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !is_part(c))
        .filter(|word| word.starts_with("telelake_"))
        .map(str::to_owned)
        .collect()
}

/// Names that `/metrics` serves: of samples, and of families that have none yet.
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

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_ask_for_metrics_that_are_served() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCHEDULE__CRON", "* * * * * *")
        .start()
        .await;
    daemon.ended("run", 0).await;
    assert_eq!(daemon.post("/webhooks/teleboss", "{}").await.0, 400);
    let (status, text) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"));
    let served = served(&text);
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
fn kubernetes_runs_without_rights_and_its_configuration_is_one() {
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
        assert_eq!(pod["automountServiceAccountToken"], false);
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
    let container = &documents[3]["spec"]["template"]["spec"]["containers"][0];
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["path"], "/healthz");
    }
    // The configuration loads, with its files of secrets where they are mounted.
    let mounted = tempfile::tempdir().unwrap();
    for key in ["token", "serve-token"] {
        assert!(documents[0]["stringData"][key].is_string());
        std::fs::write(mounted.path().join(key), "x").unwrap();
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
fn compose_sets_keys_that_there_are() {
    let compose = documents("compose/compose.yaml").remove(0);
    let service = &compose["services"]["telelake"];
    assert_eq!(service["read_only"], true);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
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

#[test]
fn units_call_commands_that_there_are() {
    for (file, command) in [
        ("systemd/telelake.service", " serve"),
        ("systemd/telelake-run.service", " run"),
    ] {
        let text = read(file);
        let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert!(start.ends_with(command), "{start}");
        assert!(text.contains("NoNewPrivileges=yes") && text.contains("ProtectSystem=strict"));
    }
    assert!(read("systemd/telelake.service").contains("SuccessExitStatus=3"));
    assert!(read("systemd/telelake-run.timer").contains("Persistent=true"));
}

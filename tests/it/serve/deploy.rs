//! What lies in `deploy/`: it parses, it names what there is, and it asks for what the program serves.

use std::collections::{BTreeMap, BTreeSet};
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

/// Of an expression: each metric with the labels that its selector or an aggregation over it names.
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

/// Labels of each metric that is served, and those that the scraper adds.
fn labels_served(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = all.entry(name.to_owned()).or_default();
        labels.extend(["job", "instance"].map(str::to_owned));
        // `name="value",…`: what stands before each `="`.
        let inner = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        let named = inner.unwrap_or_default().split("=\"");
        let named = named.map(|part| part.rsplit(['"', ',']).next().unwrap_or_default());
        labels.extend(named.filter(|label| !label.is_empty()).map(str::to_owned));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_ask_for_metrics_that_are_served() {
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
    let (status, text) = loop {
        let (status, text) = daemon.get("/metrics").await;
        if text.contains(unreadable) && text.contains("telelake_pending{") {
            break (status, text);
        }
    };
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
    // The cases that `promtool test rules` evaluates are of alerts that there are.
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
        std::fs::write(mounted.path().join(key), "0123456789abcdef").unwrap();
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
    std::fs::write(&secret, "0123456789abcdef").unwrap();
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

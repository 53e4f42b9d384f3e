//! The documents and the examples: links and paths lead to something, and every example works.

use std::path::{Path, PathBuf};

use telelake::config::{Config, Source};
use telelake::tables::Mapping;

use crate::support::program::Telelake;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder of the repository with some extension, `folder` itself included.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|known| known == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// All documents that people wrote.
fn documents() -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    for folder in ["docs", "deploy", "examples"] {
        all.extend(files(folder, "md"));
    }
    all
}

/// The text without blocks of code.
fn prose(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let parts = text.split("```").step_by(2);
    parts.collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(path: &Path) -> Vec<String> {
    let text = prose(path);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let has_anchor = || anchor.is_empty() || anchors(&target).iter().any(|known| known == anchor);
            if !target.exists() || !has_anchor() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_path_that_the_documents_of_the_code_name_exists() {
    let sources = files("src", "rs");
    let exists = |path: &str| match path.contains('/') {
        true => root().join(path).exists() || root().join("src").join(path).exists(),
        false => sources.iter().any(|file| file.ends_with(path)),
    };
    let top: Vec<_> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .collect();
    let is_path = |word: &str| {
        let is_plain = word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let of_code = word
            .split('/')
            .next()
            .is_some_and(|first| top.iter().any(|name| name == first));
        is_plain && (word.ends_with(".rs") || (word.ends_with('/') && of_code))
    };
    let mut missing = Vec::new();
    for document in ["docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md"] {
        let text = prose(&root().join(document));
        let words = text.split('`').skip(1).step_by(2);
        let absent = words.filter(|word| is_path(word) && !exists(word));
        missing.extend(absent.map(|word| format!("{document}: {word}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_examples_of_configurations_are_right() {
    let mut loaded = 0;
    for file in files("examples", "toml") {
        if !file.file_name().unwrap().to_str().unwrap().starts_with("s3-") {
            continue;
        }
        let source = Source {
            file: Some(file.clone()),
            ..Source::default()
        };
        let config = Config::load(&source).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(config.store.url.starts_with("s3://"), "{}", file.display());
        loaded += 1;
    }
    assert_eq!(loaded, 3);
}

#[test]
fn the_example_of_a_mapping_is_right() {
    let text = std::fs::read_to_string(root().join("examples/mapping-overlay.toml")).unwrap();
    let mapping = Mapping::over_builtin(&text, "mapping-overlay.toml").unwrap();
    let homework = mapping.tables().find(|table| table.name == "homework").unwrap();
    let has = |name: &str| homework.columns.iter().any(|column| column.name == name);
    assert!(has("due_at") && has("call_id"));
}

/// The steps of `examples/README.md`: the demo, the script, lesson data for its meetings, a rebuild, the script again.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_script_reads_the_lake_of_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("demo-lake");
    let script = |more: &'static [&str]| {
        let mut command = std::process::Command::new(root().join(".tools/venv/bin/python"));
        command
            .arg(root().join("examples/read_lake.py"))
            .arg(&lake)
            .args(more);
        async move {
            let output = tokio::task::spawn_blocking(move || command.output())
                .await
                .unwrap()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let program = async |args: &[&str]| {
        let url = format!("file://{}", lake.display());
        let program = Telelake::new(args)
            .in_folder(folder.path())
            .env("TELELAKE_STORE__URL", &url);
        program.run().await.expect(0)
    };
    program(&["demo"]).await;
    let before = script(&[]).await;
    assert!(
        before.contains("Calls (pyarrow)") && !before.contains("Lesson "),
        "{before}"
    );
    let lessons = folder.path().join("lessons.jsonl");
    std::fs::write(&lessons, script(&["--sample-lesson-data"]).await).unwrap();
    program(&["meta", "import", lessons.to_str().unwrap()]).await;
    let today = chrono::Utc::now().date_naive();
    let from = (today - chrono::Days::new(4)).to_string();
    program(&["rebuild", "--from", &from, "--to", &today.to_string()]).await;
    let after = script(&[]).await;
    assert!(after.contains("Lesson "), "{after}");
}

#[test]
fn bucket_policies_name_all_tables_and_deny_what_lies_plain() {
    let policy = |name: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(root().join("deploy/s3").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for name in ["telelake.json", "analysts.json", "auditor.json"] {
        assert_eq!(policy(name)["Version"], "2012-10-17", "{name}");
    }
    let analysts = policy("analysts.json");
    let listed = analysts["Statement"][0]["Condition"]["StringLike"]["s3:prefix"].to_string();
    for table in telelake::lake::table::builtin::all() {
        let is_listed = listed.contains(&format!("/{}/*", table.name));
        // It holds all cells of workbooks.
        assert_eq!(is_listed, table.name != "report_rows", "{}", table.name);
    }
    let denied = analysts["Statement"][2]["Resource"].to_string();
    for prefix in ["raw/", "media/", "_telelake/", "report_rows/"] {
        assert!(denied.contains(&format!("/school/lake/{prefix}*")), "{prefix}");
    }
}

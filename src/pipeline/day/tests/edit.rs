//! Edits of a day whose reports are gone, over a folder.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use bytes::Bytes;
use chrono::DateTime;

use crate::config::{Config, ReportFormat};
use crate::ids::DayId;
use crate::lake::key;
use crate::lake::manifest::{Built, CallEntry, LessonSpan, Manifest, Quality, Status, TableEntry};
use crate::pipeline::Setting;
use crate::pipeline::day::edit::{DayEdit, RowEdit, edit_day};
use crate::pipeline::run_context::RunContext;
use crate::pipeline::samples;
use crate::store::Condition;
use crate::store::json::{get_json, put_json};
use crate::tables::{Mapping, TableFile, build_rooms, read_text};
use crate::{ErrorKind, Result};

struct Lake {
    _folder: tempfile::TempDir,
    run: RunContext,
    day: DayId,
}

/// A file with a row for each name. It stands for any table.
fn file(names: &[&str]) -> TableFile {
    let rooms = names
        .iter()
        .map(|name| ((*name).to_owned(), (&serde_json::json!({"name": name})).into()))
        .collect();
    let mapping = Mapping::builtin().expect("the built-in mapping");
    build_rooms(&"s".into(), &rooms, &mapping)
        .expect("builds")
        .expect("has rows")
}

impl Lake {
    /// A lake with one day, whose report was deleted, and two tables.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store = crate::store::folder::FolderStore::open(&url).expect("store");
        let setting = Setting::new(
            Config::default(),
            Arc::new(store),
            samples::at("2026-11-25T02:00:00Z"),
        );
        let run = RunContext::new(setting).expect("a run");
        let mut manifest = samples::manifest();
        let mut report = samples::landed(Status::Done, "");
        if let Some(landed) = &mut report.landed {
            landed.deleted_at = Some(run.now);
        }
        let mut call = CallEntry {
            room_id: "r".into(),
            started_at: None,
            finished_at: None,
            participants: None,
            call: serde_json::json!({}).into(),
            pending: None,
            reports: crate::small_map::SmallMap::default(),
        };
        call.reports.insert(ReportFormat::Json, report);
        manifest.calls.insert("c".into(), call);
        manifest.listed = true;
        let mut built = Built {
            fingerprint: "of an earlier mapping".into(),
            built_at: DateTime::UNIX_EPOCH,
            mapping: String::new(),
            program: String::new(),
            tables: std::collections::BTreeMap::new(),
            meetings: std::collections::BTreeMap::new(),
            meta: String::new(),
            beside: String::new(),
            lessons: LessonSpan::default(),
            unreported: std::collections::BTreeMap::new(),
            quality: Quality::default(),
        };
        for (name, rows) in [("messages", &["a", "b"][..]), ("reactions", &["b"][..])] {
            let file = file(rows);
            let key = key::table(name, manifest.date, &manifest.space_id);
            let entry = TableEntry {
                key: key.clone(),
                rows: file.rows,
                bytes: file.bytes.len() as u64,
                sha256: file.sha256,
            };
            run.put(&key, file.bytes, Condition::Any).await.expect("written");
            built.tables.insert(name.into(), entry);
        }
        manifest.built = Some(built);
        let day = DayId::new(manifest.date, manifest.space_id.clone());
        let key = key::manifest(day.date, &day.space);
        put_json(&*run.store, &key, &manifest, Condition::Any)
            .await
            .expect("written");
        Self {
            _folder: folder,
            run,
            day,
        }
    }

    async fn manifest(&self) -> Manifest {
        let key = key::manifest(self.day.date, &self.day.space);
        let read = get_json(&*self.run.store, &key).await.expect("read");
        read.expect("a manifest").0
    }

    async fn set_manifest(&self, manifest: &Manifest) {
        let key = key::manifest(self.day.date, &self.day.space);
        put_json(&*self.run.store, &key, manifest, Condition::Any)
            .await
            .expect("written");
    }

    fn key(&self, table: &str) -> String {
        key::table(table, self.day.date, &self.day.space)
    }

    async fn names(&self, table: &str) -> Option<Vec<String>> {
        let bytes = self.run.store.read(&self.key(table)).await.ok()?;
        let rows = read_text(bytes, &["name"]).expect("Parquet");
        Some(rows.concat())
    }

    async fn without_b(&self) -> Result<Option<DayEdit>> {
        edit_day(&self.run, &self.day, |_| {}, &without_b()).await
    }

    /// Asserts that the day is as the edit leaves it.
    async fn assert_without_b(&self) {
        assert_eq!(self.names("messages").await, Some(vec!["a".to_owned()]));
        assert_eq!(
            self.names("reactions").await,
            None,
            "a table without rows has no file"
        );
        let manifest = self.manifest().await;
        assert!(manifest.is_built(), "{manifest:?}");
        let tables = manifest.built.expect("tables").tables;
        let named: Vec<_> = tables
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.rows))
            .collect();
        assert_eq!(named, [("messages", 1)]);
        assert_eq!(tables["messages"].sha256, file(&["a"]).sha256);
    }
}

fn without_b() -> RowEdit {
    Arc::new(|_: &Manifest, _: &str, rows: RecordBatch| {
        let names = rows.column_by_name("name").expect("names").as_string::<i32>();
        let kept: BooleanArray = names.iter().map(|name| Some(name != Some("b"))).collect();
        Ok(filter_record_batch(&rows, &kept).expect("filtered"))
    })
}

#[tokio::test]
async fn an_edit_writes_the_tables_that_change_and_the_manifest_that_names_them() {
    let lake = Lake::new().await;
    assert_eq!(
        lake.without_b().await.expect("edited"),
        Some(DayEdit { tables: 2, rows: 2 })
    );
    lake.assert_without_b().await;
    let built = lake.manifest().await.built.expect("tables");
    assert_eq!(
        built.fingerprint, "of an earlier mapping",
        "a stale day stays stale"
    );
    let writes = lake.run.writes();
    assert_eq!(lake.without_b().await.expect("edited"), Some(DayEdit::default()));
    assert_eq!(lake.run.writes(), writes, "the same edit again writes nothing");
}

#[tokio::test]
async fn an_edit_of_a_killed_process_is_finished_by_the_same_edit() {
    for removed in [false, true] {
        let lake = Lake::new().await;
        let mut manifest = lake.manifest().await;
        manifest.building = Some("of a dead process".into());
        manifest.built.as_mut().expect("tables").fingerprint.clear();
        lake.set_manifest(&manifest).await;
        lake.run
            .put(&lake.key("messages"), file(&["a"]).bytes, Condition::Any)
            .await
            .expect("written");
        if removed {
            lake.run.delete(&lake.key("reactions")).await.expect("deleted");
        }
        lake.without_b().await.expect("edited");
        lake.assert_without_b().await;
    }
}

#[tokio::test]
async fn a_table_that_the_manifest_does_not_name_is_not_edited() {
    let lake = Lake::new().await;
    lake.run
        .put(
            &lake.key("messages"),
            Bytes::from_static(b"other"),
            Condition::Any,
        )
        .await
        .expect("written");
    let error = lake.without_b().await.expect_err("a damaged table");
    assert_eq!(error.kind(), ErrorKind::Content);
    assert!(lake.names("reactions").await.is_some(), "nothing was edited");
}

#[tokio::test]
async fn a_day_with_reports_whose_build_did_not_end_is_not_edited() {
    let lake = Lake::new().await;
    let mut manifest = lake.manifest().await;
    manifest.building = Some("of a dead process".into());
    let reports = manifest
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut());
    for landed in reports.filter_map(|landing| landing.landed.as_mut()) {
        landed.deleted_at = None;
    }
    lake.set_manifest(&manifest).await;
    let error = lake.without_b().await.expect_err("a day that is not built");
    assert_eq!(error.kind(), ErrorKind::Content);
}

#[tokio::test]
async fn a_day_that_is_not_there_is_no_error() {
    let lake = Lake::new().await;
    let other = DayId::new(lake.day.date, "other");
    assert_eq!(
        edit_day(&lake.run, &other, |_| {}, &without_b())
            .await
            .expect("read"),
        None
    );
}

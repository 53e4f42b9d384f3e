//! A lake that tests write and read past the program: a folder, or a bucket of the real S3 server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use telelake::tables::read_text;

use super::weed::weed;

/// A place for a lake, new and empty.
pub enum Lake {
    Folder(tempfile::TempDir),
    S3 { bucket: String, https: bool },
}

/// A row as text by column; a null is empty.
pub type Row = BTreeMap<String, String>;

impl Lake {
    pub fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    pub async fn s3() -> Self {
        Self::S3 {
            bucket: weed().await.bucket().await,
            https: false,
        }
    }

    /// The same server over HTTPS, with a certificate by a private CA.
    pub async fn s3_over_https() -> Self {
        Self::S3 {
            bucket: weed().await.bucket().await,
            https: true,
        }
    }

    /// Removes the bucket, so that the server does not collect hundreds of them.
    pub async fn drop_whole(self) {
        let Self::S3 { bucket, .. } = &self else { return };
        let client = weed().await.client();
        for key in self.keys().await.into_keys() {
            let object = client.delete_object().bucket(bucket);
            object.key(format!("school/lake/{key}")).send().await.unwrap();
        }
        client.delete_bucket().bucket(bucket).send().await.unwrap();
    }

    /// The lake's URL.
    pub fn url(&self) -> String {
        match self {
            Self::Folder(folder) => format!("file://{}", folder.path().display()),
            Self::S3 { bucket, .. } => format!("s3://{bucket}/school/lake"),
        }
    }

    /// The environment by which the program finds the lake.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let Self::S3 { https, .. } = self else {
            return Vec::new();
        };
        let weed = super::weed::started();
        let mut environment = vec![
            ("AWS_ACCESS_KEY_ID", weed.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", weed.secret_key.clone()),
            (
                "TELELAKE_STORE__S3__ENDPOINT_URL",
                if *https {
                    weed.https.clone()
                } else {
                    weed.http.clone()
                },
            ),
            ("TELELAKE_STORE__S3__PATH_STYLE", "true".into()),
            ("TELELAKE_STORE__S3__PART_SIZE", "5MiB".into()),
        ];
        if *https {
            environment.push(("AWS_CA_BUNDLE", weed.ca_file.display().to_string()));
        }
        environment
    }

    /// Every key with its size, in order.
    pub async fn keys(&self) -> BTreeMap<String, u64> {
        match self {
            Self::Folder(folder) => {
                let mut found = BTreeMap::new();
                walk(folder.path(), folder.path(), &mut found);
                found
            }
            Self::S3 { bucket, .. } => {
                let client = weed().await.client();
                let mut pages = client.list_objects_v2().bucket(bucket).into_paginator().send();
                let mut found = BTreeMap::new();
                while let Some(page) = pages.next().await {
                    for object in page.unwrap().contents.unwrap_or_default() {
                        let key = object.key.unwrap();
                        let key = key
                            .strip_prefix("school/lake/")
                            .unwrap_or_else(|| panic!("{key} lies outside"));
                        found.insert(key.to_owned(), u64::try_from(object.size.unwrap()).unwrap());
                    }
                }
                found
            }
        }
    }

    pub async fn get(&self, key: &str) -> Bytes {
        match self {
            Self::Folder(folder) => std::fs::read(folder.path().join(key)).unwrap().into(),
            Self::S3 { bucket, .. } => {
                let client = weed().await.client();
                let object = client
                    .get_object()
                    .bucket(bucket)
                    .key(format!("school/lake/{key}"))
                    .send()
                    .await
                    .unwrap();
                object.body.collect().await.unwrap().into_bytes()
            }
        }
    }

    /// Writes an object past the program.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        match self {
            Self::Folder(folder) => {
                let path = folder.path().join(key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes.into()).unwrap();
            }
            Self::S3 { bucket, .. } => {
                let put = weed().await.client().put_object().bucket(bucket);
                let put = put.key(format!("school/lake/{key}"));
                put.body(bytes.into().into()).send().await.unwrap();
            }
        }
    }

    /// Removes an object past the program.
    pub async fn remove(&self, key: &str) {
        match self {
            Self::Folder(folder) => std::fs::remove_file(folder.path().join(key)).unwrap(),
            Self::S3 { bucket, .. } => {
                let delete = weed().await.client().delete_object().bucket(bucket);
                let delete = delete.key(format!("school/lake/{key}"));
                delete.send().await.unwrap();
            }
        }
    }

    /// The bytes of every object by key, without the summaries of runs, to prove that nothing was written.
    pub async fn contents(&self) -> BTreeMap<String, Bytes> {
        let mut contents = BTreeMap::new();
        for key in self
            .keys()
            .await
            .into_keys()
            .filter(|key| !key.starts_with("_telelake/runs/"))
        {
            let bytes = self.get(&key).await;
            contents.insert(key, bytes);
        }
        contents
    }

    /// The times at which the files of a folder were last written, by key.
    pub fn written(&self) -> BTreeMap<PathBuf, std::time::SystemTime> {
        let Self::Folder(folder) = self else {
            panic!("a folder knows when its files were written")
        };
        let mut found = BTreeMap::new();
        walk(folder.path(), folder.path(), &mut found);
        found
            .into_keys()
            .filter(|key| !key.starts_with("_telelake/runs/"))
            .map(|key| {
                let path = folder.path().join(key);
                let at = path.metadata().unwrap().modified().unwrap();
                (path, at)
            })
            .collect()
    }

    /// The rows of a table of all days, with the `date` of their partition unless it is a column.
    pub async fn rows(&self, table: &str, columns: &[&str]) -> Vec<Row> {
        let mut rows = Vec::new();
        let prefix = format!("{table}/");
        let keys = self.keys().await;
        for key in keys
            .keys()
            .filter(|key| key.starts_with(&prefix) && key.ends_with(".parquet"))
        {
            let date = telelake::lake::key::date_in(key)
                .map(|date| date.to_string())
                .unwrap_or_default();
            for row in read_text(self.get(key).await, columns).unwrap() {
                let mut row: Row = columns
                    .iter()
                    .map(|column| (*column).to_owned())
                    .zip(row)
                    .collect();
                row.entry("date".into()).or_insert_with(|| date.clone());
                rows.push(row);
            }
        }
        rows
    }

    /// An object of the program's own, as JSON.
    pub async fn json(&self, key: &str) -> serde_json::Value {
        serde_json::from_slice(&self.get(key).await).unwrap()
    }

    /// The day manifests.
    pub async fn manifests(&self) -> Vec<serde_json::Value> {
        let mut manifests = Vec::new();
        for key in self
            .keys()
            .await
            .into_keys()
            .filter(|key| key.starts_with("_telelake/days/"))
        {
            manifests.push(self.json(&key).await);
        }
        manifests
    }
}

/// The files below a folder, without those that a run removes in the meantime.
fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, u64>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if !path.ends_with("_telelake/lock")
            && let Ok(metadata) = path.metadata()
        {
            let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(key, metadata.len());
        }
    }
}

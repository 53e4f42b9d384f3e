//! The program's own objects: JSON in the store, read and written with their versions.

use serde::{Deserialize, Serialize};

use super::{Store, Version};
use crate::lake::{self, key, manifest};
use crate::{Error, ErrorKind, Result};

/// The size of one of the program's own objects, in bytes: many times that of any that it writes.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// Reads and parses one of the program's own objects, with its version.
///
/// # Errors
/// `Store`: it is damaged, or of a newer version, which makes the whole lake one of a newer version (`Config`) where it
/// is the description of the store. Else of the store.
pub async fn get_json<T: serde::de::DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<(T, Version)>> {
    match store.get_within(key, MOST_BYTES).await {
        Ok(object) => match parse(key, &object.bytes) {
            Ok(value) => Ok(Some((value, object.version))),
            Err(error) => Err(newer_version(key, &object.bytes).map_or(error, |version| newer(key, version))),
        },
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        // Where, and not what: serde's own words show the value, and a shelf holds people's.
        let message = format!("is damaged, from line {}, column {} on", e.line(), e.column());
        Error::new(ErrorKind::Store, key, message).hint("restore it, or remove it to start anew")
    })
}

/// The version of an object that says that it is of a newer one than this program knows. Only manifests and the
/// description of the store have one.
pub fn newer_version(key: &str, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let known = match key {
        key::STORE_INFO => lake::VERSION,
        _ if key.starts_with(key::DAYS) => manifest::VERSION,
        _ => return None,
    };
    let found: Versioned = serde_json::from_slice(bytes).ok()?;
    (found.version > u64::from(known)).then_some(found.version)
}

/// The error of an object of a newer version.
pub(crate) fn newer(key: &str, version: u64) -> Error {
    let (kind, what, known) = match key {
        key::STORE_INFO => (ErrorKind::Config, "the lake is", lake::VERSION),
        _ => (ErrorKind::Store, "is", manifest::VERSION),
    };
    let message = format!("{what} of version {version}, this telelake knows versions up to {known}");
    Error::new(kind, key, message)
        .hint("upgrade telelake: an older one would lose what the newer one wrote, so it writes nothing")
}

/// The bytes of one of the program's own objects: JSON that a person can read.
pub fn to_json(value: &impl Serialize) -> Result<bytes::Bytes> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "serialization", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

//! Erases people from the program's own objects, from what a repair moved aside, and from old versions of objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::book::ErasureBook;
use super::{is_own, stopped};
use crate::Result;
use crate::lake::key;
use crate::pipeline::lake_state::erasures::LeftToHuman;
use crate::pipeline::run_context::RunContext;
use crate::store::{Condition, OptionalExt};
use crate::tables::{Traces, erase_json, erase_report, erase_workbook, is_mentioned_in_file};
use crate::task::isolated_blocking;

/// Objects in work at once.
const AT_ONCE: usize = 16;
/// Objects of the program that may name users: problems of lesson data, and logs.
const STATE: [&str; 6] = [
    key::RUNS,
    key::RUN_LOGS,
    key::SHARDS,
    key::META_FEEDS,
    key::QUEUE,
    key::DELIVERIES,
];

/// Erases the people from the program's own objects, and removes old versions of all that was touched.
///
/// # Errors
/// Any error of the store; a stop.
pub(super) async fn erase(run: &Arc<RunContext>, book: &Arc<ErasureBook>) -> Result<()> {
    let traces = Arc::new(book.traces());
    for prefix in STATE {
        let listed = run.store.list(prefix).await?;
        stream::iter(listed)
            .map(|object| state(run, book, &traces, object.key))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    let reports = run.store.list(key::REPORTS).await?;
    stream::iter(reports.into_iter().filter(|object| !book.has_report(&object.key)))
        .map(|object| unnamed_report(run, book, object.key))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    for object in run.store.list(key::SET_ASIDE).await? {
        aside(run, book, &traces, object.key).await?;
    }
    match book.is_dry {
        true => Ok(()),
        false => old_versions(run, book).await,
    }
}

/// Deletes a report that no manifest names, because a run was killed, if it has somebody, or if nobody can tell. The next run
/// lands it again.
async fn unnamed_report(run: &RunContext, book: &ErasureBook, key: String) -> Result<()> {
    if run.cancel.is_cancelled() {
        return Err(stopped());
    }
    let Some(bytes) = run.store.read(&key).await.optional()? else {
        return Ok(());
    };
    let (of_book, erased, is_json) = (
        Arc::clone(&book.run),
        Arc::clone(&book.erased),
        key.ends_with(".json"),
    );
    let has_somebody = isolated_blocking(&key, move || {
        let mut known = Traces::default();
        Ok(match is_json {
            true => erase_report(&bytes, &of_book.mapping, &erased, &mut known)
                .map_or(true, |done| done.is_some()),
            false => erase_workbook(&bytes, &of_book.mapping, &erased, &mut known)
                .map_or(true, |done| done.is_some()),
        })
    })
    .await?;
    if has_somebody {
        book.count_object("reports that no day names", &key).await?;
        if !book.is_dry {
            run.delete(&key).await?;
        }
    }
    Ok(())
}

/// Replaces ids and addresses of the people in an object of the program.
async fn state(run: &RunContext, book: &ErasureBook, traces: &Traces, key: String) -> Result<()> {
    if run.cancel.is_cancelled() {
        return Err(stopped());
    }
    if is_own(&key) {
        return Ok(());
    }
    let Some(object) = run.store.get(&key).await.optional()? else {
        return Ok(());
    };
    let mut known = traces.clone();
    let cleaned = erase_json(&object.bytes, &book.erased, &mut known).map(Bytes::from);
    let bytes = cleaned.as_ref().unwrap_or(&object.bytes);
    let redacted = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| traces.redacted(text));
    let Some(text) = redacted.map(Bytes::from).or(cleaned) else {
        return Ok(());
    };
    book.count_object("state", &key).await?;
    if book.is_dry {
        return Ok(());
    }
    // A run that goes on writes its own summary again; it names problems by ids of calls, and of users only if lesson data of
    // them is wrong, which an import leaves out from now on.
    match run.put(&key, text, Condition::Unchanged(object.version)).await {
        Err(error) if error.kind() == crate::ErrorKind::Precondition => Ok(()),
        written => written.map(|_| ()),
    }
}

/// Deletes an object that a repair moved aside if it names the people, or if nobody can tell.
async fn aside(run: &RunContext, book: &ErasureBook, traces: &Arc<Traces>, key: String) -> Result<()> {
    if run.cancel.is_cancelled() {
        return Err(stopped());
    }
    if key.contains(key::MEDIA) {
        let left = LeftToHuman {
            kind: "recording".into(),
            place: key,
            note: "a recording that a repair moved aside: delete it if the person can be in it".into(),
        };
        return book.leave([left]).await;
    }
    let Some(bytes) = run.store.read(&key).await.optional()? else {
        return Ok(());
    };
    let (traces, of_book, name) = (Arc::clone(traces), Arc::clone(&book.run), key.clone());
    let erased = Arc::clone(&book.erased);
    let names = isolated_blocking("aside", move || {
        Ok(match name.rsplit('.').next() {
            Some("parquet") => is_mentioned_in_file(bytes, &traces).unwrap_or(true),
            Some("xlsx") => {
                let mut known = (*traces).clone();
                erase_workbook(&bytes, &of_book.mapping, &erased, &mut known)
                    .map_or(true, |done| done.is_some())
            }
            Some("zst") => {
                zstd::decode_all(&bytes[..]).map_or(true, |bytes| mentions(&bytes.into(), &traces))
            }
            _ => mentions(&bytes, &traces),
        })
    })
    .await?;
    if names {
        book.count_object("objects moved aside", &key).await?;
        if !book.is_dry {
            run.delete(&key).await?;
        }
    }
    Ok(())
}

fn mentions(bytes: &Bytes, traces: &Traces) -> bool {
    traces.is_mentioned_in(&String::from_utf8_lossy(bytes), &BTreeSet::new())
}

/// Removes old versions of what was touched, in a bucket that keeps them.
async fn old_versions(run: &RunContext, book: &ErasureBook) -> Result<()> {
    let touched = book.touched().await;
    let prefixes = touched.iter().map(String::as_str).chain([key::DELTA, key::RUNS]);
    let mut removed = 0;
    for prefix in prefixes {
        if run.cancel.is_cancelled() {
            return Err(stopped());
        }
        match run.store.remove_old_versions(prefix).await {
            // The store keeps none.
            Ok(None) => return Ok(()),
            Ok(Some(count)) => removed += count,
            Err(error) => {
                let left = LeftToHuman {
                    kind: "versions".into(),
                    place: prefix.to_owned(),
                    note: format!(
                        "old versions could not be removed ({}): list them by `aws s3api list-object-versions --prefix`, \
                         and delete those that are not the latest by `aws s3api delete-object --version-id`",
                        error.message()
                    ),
                };
                book.leave([left]).await?;
                return Ok(());
            }
        }
    }
    book.note(|erasure| {
        if removed > 0 {
            *erasure.objects.entry("old versions".into()).or_default() += removed;
        }
    })
    .await
}

//! Baselines: the speed of server and disk for a client that does nothing else.

use std::io::Write;
use std::time::{Duration, Instant};

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use telelake::simulator::Simulator;

use crate::report::per_second;
use crate::support::lake::Lake;
use crate::support::weed::weed;

/// Large enough to exceed the first buffers, and still quick.
const SIZE: usize = 512 << 20;

/// The time that the logged requests of the simulator take for a client that knows them beforehand and sends `at_once` in
pub async fn replay(sim: &Simulator, in_flight: usize) -> Duration {
    let client = telelake::tls::http_client().no_proxy().build().unwrap();
    let server = sim.address();
    let requests: Vec<_> = sim
        .requests()
        .iter()
        .map(|seen| {
            let url = format!("http://{server}{}?{}", seen.path, seen.query);
            client.get(url).bearer_auth(sim.token())
        })
        .collect();
    let start = Instant::now();
    stream::iter(requests)
        .for_each_concurrent(in_flight, |request| async {
            let answer = request.send().await.unwrap().error_for_status().unwrap();
            answer.bytes().await.unwrap();
        })
        .await;
    start.elapsed()
}

/// The speed of a multipart upload from memory into the lake's bucket, in bytes per second.
pub async fn into_s3(lake: &Lake, part_size: usize, in_flight: usize) -> f64 {
    let Lake::S3 { bucket, .. } = lake else {
        panic!("a bucket is needed")
    };
    let client = weed().await.client();
    // A key outside of the lake.
    let key = "baseline";
    let part = noise(part_size);
    let start = Instant::now();
    let created = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .send()
        .await;
    let id = created.unwrap().upload_id.unwrap();
    let parts = i32::try_from(SIZE / part_size).unwrap();
    let parts: Vec<_> = stream::iter(1..=parts)
        .map(|number| {
            let sent = client.upload_part().bucket(bucket).key(key).upload_id(&id);
            let sent = sent.part_number(number).body(part.clone().into()).send();
            async move {
                let tag = sent.await?.e_tag;
                let part = CompletedPart::builder().part_number(number);
                Ok::<_, aws_sdk_s3::Error>(part.set_e_tag(tag).build())
            }
        })
        .buffered(in_flight)
        .try_collect()
        .await
        .unwrap();
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key(key);
    complete
        .upload_id(&id)
        .multipart_upload(parts)
        .send()
        .await
        .unwrap();
    let speed = per_second(SIZE as u64, start.elapsed());
    client
        .delete_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .unwrap();
    speed
}

/// The speed of writing a synced file in the folder, in bytes per second.
pub async fn into_folder(lake: &Lake, piece: usize) -> f64 {
    let Lake::Folder(folder) = lake else {
        panic!("a folder is needed")
    };
    let mut file = tempfile::tempfile_in(folder.path()).unwrap();
    let bytes = noise(piece);
    tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        for _ in 0..SIZE / piece {
            file.write_all(&bytes).unwrap();
        }
        file.sync_all().unwrap();
        per_second(SIZE as u64, start.elapsed())
    })
    .await
    .unwrap()
}

/// Random bytes, which no store can compress.
fn noise(length: usize) -> Bytes {
    std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
}

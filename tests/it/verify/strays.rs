//! Objects that no manifest names, and unfinished uploads.

use super::{day, exported, kinds, recording, repair, verify};
use crate::pipeline::small;
use crate::support::lake::Lake;

#[tokio::test(flavor = "multi_thread")]
async fn strays_are_named_and_never_removed() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = exported(&lake, small(), 0).await;
        let of = day(&lake, 0).await;
        let (date, space) = (of["date"].as_str().unwrap(), of["space_id"].as_str().unwrap());
        let strays = [
            format!("calls/date={date}/{space}.parquet.bak"),
            format!("raw/reports/date={date}/{space}/nobody.json"),
            format!("media/date={date}/{space}/room/call_record.mp4"),
            format!("user_meta/date={date}/user_meta.parquet"),
            "_telelake/nobodys".to_owned(),
        ];
        for stray in &strays {
            lake.put(stray, "x").await;
        }
        let verified = verify(&lake, &[]).await.expect(5).summary();
        assert_eq!(kinds(&verified["findings"]), ["stray"; 5], "{verified:#}");
        let repaired = repair(&sim, &lake, &[]).await.expect(5).summary();
        let mut named: Vec<_> = repaired["findings"].as_array().unwrap().iter().collect();
        named.sort_by_key(|finding| finding["key"].to_string());
        let mut sorted = strays.to_vec();
        sorted.sort();
        assert_eq!(
            named
                .iter()
                .map(|it| it["key"].as_str().unwrap())
                .collect::<Vec<_>>(),
            sorted
        );
        let keys = lake.keys().await;
        assert!(strays.iter().all(|stray| keys.contains_key(stray)));
        for stray in &strays {
            lake.remove(stray).await;
        }
        verify(&lake, &[]).await.expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_never_ended_are_found_and_aborted() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let _sim = exported(&lake, small(), 0).await;
        let key = recording(&day(&lake, 0).await).1;
        match &lake {
            Lake::Folder(_) => {
                lake.put(&format!("_telelake/tmp/{key}/.0123456789abcdef.part"), "half")
                    .await
            }
            Lake::S3 { bucket, .. } => {
                let client = crate::support::weed::started().client();
                let begun = client.create_multipart_upload().bucket(bucket);
                begun.key(format!("school/lake/{key}")).send().await.unwrap();
            }
        }
        verify(&lake, &[]).await.expect(0);
        let deep = verify(&lake, &["--deep"]).await.expect(0);
        assert_eq!(deep.count("uploads_aborted"), 1, "{}", deep.stdout);
        let again = verify(&lake, &["--deep"]).await.expect(0);
        assert_eq!(again.count("uploads_aborted"), 0);
    }
}

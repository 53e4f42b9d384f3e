//! The script as text. Engines run it in `tests/it/analysts/`.

use super::*;
use crate::config::S3;
use crate::lake::table::builtin;

const DIALECTS: [SqlDialect; 3] = [SqlDialect::DuckDb, SqlDialect::ClickHouse, SqlDialect::Spark];

fn spaces(dialect: SqlDialect, address: &LakeAddress, has_files: bool) -> String {
    views::view(dialect, address, builtin::spaces::table(), has_files)
}

#[test]
fn an_address_is_escaped_for_its_dialect() {
    let address = LakeAddress::of("file:///srv/it's%20%5B1%5D*/", &S3::default());
    assert_eq!(address, LakeAddress::Folder("/srv/it's [1]*".into()));
    let of = |dialect| spaces(dialect, &address, true);
    assert!(of(SqlDialect::DuckDb).contains("read_parquet('/srv/it''s [[]1][*]/spaces/*.parquet', filename"));
    assert!(of(SqlDialect::ClickHouse).contains(r"file('/srv/it\'s [1]*/spaces/*.parquet', 'Parquet'"));
    assert!(of(SqlDialect::Spark).contains(r"OPTIONS (path '/srv/it\'s [1]*/spaces', pathGlobFilter"));
}

#[test]
fn a_bucket_is_addressed_as_each_engine_does() {
    let mut s3 = S3 {
        region: "ru-1".into(),
        ..S3::default()
    };
    let aws = LakeAddress::of("s3://bucket/a/b/", &s3);
    let of = |dialect, address| script(dialect, address, &[(builtin::spaces::table(), true)]);
    assert!(of(SqlDialect::DuckDb, &aws).contains("read_parquet('s3://bucket/a/b/spaces/*.parquet'"));
    assert!(of(SqlDialect::DuckDb, &aws).contains(
        "-- CREATE OR REPLACE SECRET telelake (TYPE s3, KEY_ID '…', SECRET '…', REGION 'ru-1', SCOPE"
    ));
    assert!(
        of(SqlDialect::ClickHouse, &aws)
            .contains("s3('https://bucket.s3.ru-1.amazonaws.com/a/b/spaces/*.parquet'")
    );
    assert!(of(SqlDialect::Spark, &aws).contains("path 's3a://bucket/a/b/spaces'"));
    s3.endpoint_url = "http://127.0.0.1:9000/".into();
    s3.path_style = true;
    let own = LakeAddress::of("s3://bucket", &s3);
    assert!(
        of(SqlDialect::DuckDb, &own)
            .contains("ENDPOINT '127.0.0.1:9000', USE_SSL false, URL_STYLE 'path', SCOPE 's3://bucket'")
    );
    assert!(of(SqlDialect::ClickHouse, &own).contains("s3('http://127.0.0.1:9000/bucket/spaces/*.parquet'"));
    assert!(of(SqlDialect::Spark, &own).contains("fs.s3a.endpoint=http://127.0.0.1:9000 "));
}

#[test]
fn every_column_of_every_table_is_named_and_described() {
    let address = LakeAddress::Folder("/lake".into());
    for dialect in DIALECTS {
        for table in builtin::all() {
            for has_files in [true, false] {
                let text = views::view(dialect, &address, table, has_files);
                for column in &table.columns {
                    assert!(
                        text.contains(&dialect.identifier(&column.name)),
                        "{}.{}",
                        table.name,
                        column.name
                    );
                    // ClickHouse takes no comments with a view of constants.
                    if has_files || dialect != SqlDialect::ClickHouse {
                        assert!(text.contains(&dialect.literal(&column.doc)), "{text}");
                    }
                }
                assert!(!text.contains("union_by_name"), "{text}");
            }
        }
    }
}

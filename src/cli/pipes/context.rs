//! The step that Dagster runs, as `DAGSTER_PIPES_CONTEXT` describes it, and the dates and the space of its partition. Pure but
//! for reading the file that the variable names.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveDate;
use flate2::read::ZlibDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::dates;
use crate::ids::SpaceId;
use crate::{Error, ErrorKind, Result};

/// The variable that says where the description of the step is.
pub(super) const CONTEXT: &str = "DAGSTER_PIPES_CONTEXT";
/// The most bytes that a variable may unpack to. Dagster's take a few kilobytes.
const MOST_BYTES: u64 = 16 << 20;

/// The parts of Dagster's description of a step that the program uses.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StepContext {
    /// The keys of the step's assets; none for a step without assets.
    #[serde(default)]
    asset_keys: Option<Vec<String>>,
    /// The key of the partition; none for a step without partitions, or with several.
    #[serde(default)]
    pub partition_key: Option<String>,
    /// The first and the last key of the partitions.
    #[serde(default)]
    partition_key_range: Option<KeyRange>,
    /// Values that the asset's author passes.
    #[serde(default)]
    extras: Option<Extras>,
}

#[derive(Debug, Deserialize)]
struct KeyRange {
    start: String,
    end: String,
}

/// The values that the asset's author may pass.
#[derive(Debug, Deserialize)]
struct Extras {
    /// The key of the asset that is reported, for a step that does not target one.
    #[serde(default)]
    asset_key: Option<String>,
    /// The asset checks to report; none: all.
    #[serde(default)]
    checks: Option<Vec<String>>,
}

/// The dates and the space that a partition stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Partition {
    pub from: NaiveDate,
    pub to: NaiveDate,
    /// None if the partition is a date alone.
    pub space: Option<SpaceId>,
}

impl StepContext {
    /// Reads the step from the value of [`CONTEXT`].
    ///
    /// # Errors
    /// `Usage` if the value, or the file that it names, is not Dagster's.
    pub fn read(value: Option<&str>) -> Result<Self> {
        let params = decode(CONTEXT, value)?;
        let wrong = |why: String| usage(CONTEXT, why);
        match (params.get("path"), params.get("data")) {
            (Some(Value::String(path)), _) => {
                let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("{path}: {e}")))?;
                serde_json::from_str(&text).map_err(|e| wrong(format!("{path} is no context: {e}")))
            }
            (None, Some(data @ Value::Object(_))) => {
                Self::deserialize(data).map_err(|e| wrong(format!("`data` is no context: {e}")))
            }
            _ => {
                let why =
                    "names neither a `path` nor `data`, so that Dagster passes the context in another way";
                Err(wrong(why.into()).hint(
                    "use PipesTempFileContextInjector, PipesFileContextInjector or PipesEnvContextInjector",
                ))
            }
        }
    }

    /// The keys of the assets that are reported.
    pub fn assets(&self) -> Vec<&str> {
        let named = self
            .extras
            .as_ref()
            .and_then(|extras| extras.asset_key.as_deref());
        match (named, &self.asset_keys) {
            (Some(key), _) => vec![key],
            (None, Some(keys)) => keys.iter().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// True if the step asks for a check.
    pub fn wants_check(&self, name: &str) -> bool {
        let wanted = self.extras.as_ref().and_then(|extras| extras.checks.as_ref());
        wanted.is_none_or(|wanted| wanted.iter().any(|check| check == name))
    }

    /// The dates and the space of the step's partitions; none for a step without.
    ///
    /// # Errors
    /// `Usage` if the key is neither a date, nor a date and a space, or if a range is over several spaces.
    pub fn partition(&self) -> Result<Option<Partition>> {
        if let Some(key) = &self.partition_key {
            let (date, space) = parse(key)?;
            return Ok(Some(Partition {
                from: date,
                to: date,
                space,
            }));
        }
        let Some(range) = &self.partition_key_range else {
            return Ok(None);
        };
        let ((from, space), (to, last)) = (parse(&range.start)?, parse(&range.end)?);
        if space != last {
            let why = format!(
                "the partitions {:?} to {:?} are of several spaces",
                range.start, range.end
            );
            return Err(usage(CONTEXT, why).hint("run the partitions of each space on their own"));
        }
        Ok(Some(Partition { from, to, space }))
    }
}

/// Parses `DATE`, or `DATE|SPACE` in either order: Dagster sorts the dimensions of a key by their names.
fn parse(key: &str) -> Result<(NaiveDate, Option<SpaceId>)> {
    let Some((first, last)) = key.split_once('|') else {
        let date = dates::parse(key).ok().map(|date| (date, None));
        return date.ok_or_else(|| not_a_day(key));
    };
    let day = match (dates::parse(first), dates::parse(last)) {
        (Ok(date), Err(_)) => Some((date, last)),
        (Err(_), Ok(date)) => Some((date, first)),
        _ => None,
    };
    match day.filter(|(_, space)| !space.is_empty() && !space.contains('|')) {
        Some((date, space)) => Ok((date, Some(space.into()))),
        None => Err(not_a_day(key)),
    }
}

fn not_a_day(key: &str) -> Error {
    let why = format!("the partition {key:?} is neither a date nor a date and a space");
    usage(CONTEXT, why).hint("partition by date (2026-11-22), or by date and space (2026-11-22|60d5…)")
}

/// Decodes the value of a variable: base64 of JSON that is compressed with zlib.
///
/// # Errors
/// `Usage` if it is missing or something else.
pub(super) fn decode(name: &str, value: Option<&str>) -> Result<Map<String, Value>> {
    let Some(value) = value else {
        return Err(usage(name, "is not set".into()).hint(
            "--pipes is for a process that Dagster starts, for example with PipesSubprocessClient: leave it out elsewhere",
        ));
    };
    let wrong = |why: &str| {
        usage(name, format!("is not what Dagster sets: {why}"))
            .hint("pass the variable on as it is: base64 of JSON that is compressed with zlib")
    };
    let packed = STANDARD
        .decode(value.trim())
        .map_err(|_| wrong("it is no base64"))?;
    let mut json = Vec::new();
    ZlibDecoder::new(&packed[..])
        .take(MOST_BYTES)
        .read_to_end(&mut json)
        .map_err(|_| wrong("it is not compressed with zlib"))?;
    serde_json::from_slice(&json).map_err(|_| wrong("it holds no JSON object"))
}

pub(super) fn usage(name: &str, why: String) -> Error {
    Error::new(ErrorKind::Usage, name, why)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    /// Encodes a value as Dagster does.
    pub fn encode(value: &Value) -> String {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(value.to_string().as_bytes()).expect("packed");
        STANDARD.encode(packer.finish().expect("packed"))
    }

    fn step(data: Value) -> StepContext {
        StepContext::read(Some(&encode(&json!({ "data": data })))).expect("a context")
    }

    fn partition(data: Value) -> Result<Option<Partition>> {
        step(data).partition()
    }

    #[test]
    fn a_value_of_the_python_package_is_decoded() {
        // encode_param({"path": "/tmp/context"}) of dagster-pipes 1.13.29.
        let params = decode(CONTEXT, Some("eJyrVipILMlQslJQ0i/JLdBPzs8rSa0oUaoFAGIiCDw=")).expect("params");
        assert_eq!(params["path"], "/tmp/context");
    }

    #[test]
    fn a_partition_is_a_date_or_a_date_and_a_space() {
        let date: NaiveDate = "2026-11-22".parse().expect("a date");
        let day = |space: Option<&str>| Partition {
            from: date,
            to: date,
            space: space.map(Into::into),
        };
        for (key, expected) in [
            ("2026-11-22", day(None)),
            ("2026-11-22|s1", day(Some("s1"))),
            ("s1|2026-11-22", day(Some("s1"))),
        ] {
            let found = partition(json!({ "partition_key": key })).expect(key);
            assert_eq!(found, Some(expected));
        }
        for key in [
            "",
            "s1",
            "2026-11-22|",
            "2026-11-22|2026-11-23",
            "2026-11-22|s1|x",
            "2026-11|s1",
        ] {
            let error = partition(json!({ "partition_key": key })).expect_err(key);
            assert_eq!(error.kind(), ErrorKind::Usage, "{key}");
        }
        assert_eq!(partition(json!({ "partition_key": null })).expect("none"), None);
    }

    #[test]
    fn a_range_of_partitions_is_of_one_space() {
        let range = |start: &str, end: &str| {
            partition(json!({ "partition_key": null, "partition_key_range": { "start": start, "end": end } }))
        };
        let found = range("2026-11-01|s1", "2026-11-07|s1")
            .expect("a range")
            .expect("a range");
        assert_eq!(
            (found.from.to_string(), found.to.to_string()),
            ("2026-11-01".into(), "2026-11-07".into())
        );
        assert_eq!(found.space, Some("s1".into()));
        let error = range("2026-11-01|s1", "2026-11-07|s2").expect_err("two spaces");
        assert!(error.to_string().contains("several spaces"), "{error}");
    }

    #[test]
    fn the_assets_and_checks_are_those_of_the_step_unless_extras_name_others() {
        let of_step = step(json!({ "asset_keys": ["telelake/day"], "extras": {} }));
        assert_eq!(of_step.assets(), ["telelake/day"]);
        assert!(of_step.wants_check("complete"));
        let extras = json!({ "asset_key": "a", "checks": ["complete"], "other": 1 });
        let named = step(json!({ "asset_keys": [], "extras": extras }));
        assert_eq!(named.assets(), ["a"]);
        assert!(named.wants_check("complete") && !named.wants_check("attendance_known"));
        assert!(
            step(json!({ "asset_keys": null, "extras": null }))
                .assets()
                .is_empty()
        );
    }

    #[test]
    fn a_context_that_is_missing_or_not_dagsters_is_a_usage_error_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("context");
        std::fs::write(&file, "no JSON").expect("written");
        let plain_json = STANDARD.encode(r#"{"data":{}}"#);
        for (value, expected) in [
            (None, "is not set"),
            (Some("%%%".to_owned()), "no base64"),
            (Some(plain_json), "not compressed with zlib"),
            (Some(encode(&json!([1]))), "no JSON object"),
            (
                Some(encode(&json!({ "bucket": "b", "key": "k" }))),
                "neither a `path` nor `data`",
            ),
            (Some(encode(&json!({ "data": 7 }))), "neither a `path` nor `data`"),
            (
                Some(encode(&json!({ "data": { "asset_keys": 7 } }))),
                "no context",
            ),
            (
                Some(encode(&json!({ "path": "/nowhere/context" }))),
                "/nowhere/context",
            ),
            (
                Some(encode(&json!({ "path": file.display().to_string() }))),
                "no context",
            ),
        ] {
            let error = StepContext::read(value.as_deref()).expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().starts_with(CONTEXT), "{error}");
        }
    }
}

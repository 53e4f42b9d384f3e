//! Where the configuration comes from: a TOML file, the environment laid over it, and files of secrets.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, Secret};
use crate::{Error, ErrorKind, Result};

/// The environment's prefix: `TELELAKE_<SECTION>__<KEY>`.
const PREFIX: &str = "TELELAKE_";
/// Variables of that prefix that are no configuration keys.
const NOT_KEYS: [&str; 2] = ["TELELAKE_CONFIG", "TELELAKE_LOG_FORMAT"];
/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "telelake.toml";
/// Keys that there were, by their last name, and what became of them.
const GONE: [(&str, &str); 1] = [(
    "window_days",
    "remove it: lesson data now joins by its keys, externalUserId and externalMeetingId, whatever its date",
)];

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file that the user named; a missing one is an error.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
}

impl Source {
    /// `file` (from the command line or `$TELELAKE_CONFIG`), `./telelake.toml` where that is not given, and the
    /// process's environment.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let file = file.or_else(|| Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.into()));
        // A variable that is not UTF-8 can't be one of ours.
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, env }
    }
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// `Config`, naming the file and line, the variable or the key.
    pub fn load(source: &Source) -> Result<Self> {
        let mut table = match &source.file {
            Some(path) => read_file(path)?,
            None => Table::new(),
        };
        let template = Table::try_from(Config::default())
            .map_err(|e| Error::new(ErrorKind::Internal, "default configuration", e.to_string()))?;
        for (name, value) in &source.env {
            if let Some(path) = key_path(name) {
                let refuse = |why: String| refused(name.clone(), why);
                overlay(&mut table, &template, &path, value).map_err(refuse)?;
                // Now, while it is known which variable is to blame.
                table
                    .clone()
                    .try_into::<Config>()
                    .map_err(|e: toml::de::Error| refuse(one_line(e.message())))?;
            }
        }
        let mut config: Config = table.try_into().map_err(|e: toml::de::Error| {
            refused("configuration".into(), one_line(e.message()))
        })?;
        let api = &mut config.api;
        read_secret("api.token", &mut api.token, &api.token_file)?;
        let serve = &mut config.serve;
        read_secret("serve.token", &mut serve.token, &serve.token_file)?;
        let webhook = &mut config.webhook;
        read_secret("webhook.secret", &mut webhook.secret, &webhook.secret_file)?;
        config.validate()?;
        Ok(config)
    }
}

/// Parses the file on its own first, so that an error can show its line.
fn read_file(path: &Path) -> Result<Table> {
    let about = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::new(ErrorKind::Config, about.clone(), e.to_string())
            .hint("`telelake config example` prints one to start from")
    })?;
    let at = |e: &toml::de::Error| match e.span() {
        Some(span) => format!(
            "{about}:{}",
            1 + text[..span.start.min(text.len())].matches('\n').count()
        ),
        None => about.clone(),
    };
    toml::from_str::<Config>(&text)
        .map_err(|e| refused(at(&e), one_line(e.message())))?;
    toml::from_str(&text).map_err(|e| refused(at(&e), one_line(e.message())))
}

/// The error of a configuration that can't be read; a key that there was once is explained.
fn refused(about: String, why: String) -> Error {
    let gone = GONE
        .iter()
        .find(|(key, _)| why.contains(&format!("`{key}`")) || why.contains(&format!(".{key}`")));
    let error = Error::new(ErrorKind::Config, about, why);
    match gone {
        Some((_, hint)) => error.hint(*hint),
        None => error,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The key that a variable sets, as lower-case segments, or `None` when it is no variable of ours.
fn key_path(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(PREFIX)?;
    if NOT_KEYS.contains(&name) || (!rest.contains("__") && is_service_link(rest)) {
        return None;
    }
    Some(rest.split("__").map(str::to_ascii_lowercase).collect())
}

/// Kubernetes describes a service named `telelake…` to every pod beside it in variables of our prefix.
fn is_service_link(rest: &str) -> bool {
    rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest == "PORT"
        || rest.contains("PORT_")
        || rest.ends_with("_PORT")
}

/// Sets one key. `template` (the defaults) says which keys there are and of which type, so that a token of digits
/// stays text.
fn overlay(
    table: &mut Table,
    template: &Table,
    path: &[String],
    text: &str,
) -> std::result::Result<(), String> {
    let [section @ .., key] = path else {
        return Err("names no key".into());
    };
    let unknown = || format!("there is no configuration key `{}`", path.join("."));
    let (mut table, mut template) = (table, template);
    for name in section {
        template = template.get(name).and_then(Value::as_table).ok_or_else(unknown)?;
        table = table
            .entry(name.clone())
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(unknown)?;
    }
    let value = match template.get(key).ok_or_else(unknown)? {
        Value::Table(_) => return Err(unknown()),
        Value::Array(_) => list(key, text)?,
        Value::Integer(_) => Value::Integer(
            text.trim()
                .parse()
                .map_err(|_| "is not a whole number".to_string())?,
        ),
        Value::Float(_) => Value::Float(text.trim().parse().map_err(|_| "is not a number".to_string())?),
        Value::Boolean(_) => Value::Boolean(
            text.trim()
                .parse()
                .map_err(|_| "is neither true nor false".to_string())?,
        ),
        _ => Value::String(text.to_owned()),
    };
    table.insert(key.clone(), value);
    Ok(())
}

/// A list is a TOML array, or plain text parted by commas; cron expressions have commas of their own, so `;` parts them.
fn list(key: &str, text: &str) -> std::result::Result<Value, String> {
    if text.trim_start().starts_with('[') {
        let parsed: Table = format!("v = {text}")
            .parse()
            .map_err(|_| "is not a list such as [\"a\", \"b\"]".to_string())?;
        return parsed
            .into_iter()
            .next()
            .map(|(_, v)| v)
            .ok_or_else(|| "is empty".into());
    }
    let separator = if key == "cron" { ';' } else { ',' };
    let items = text
        .split(separator)
        .map(str::trim)
        .filter(|item| !item.is_empty());
    Ok(Value::Array(
        items.map(|item| Value::String(item.to_owned())).collect(),
    ))
}

fn read_secret(key: &str, secret: &mut Secret, file: &str) -> Result<()> {
    if file.is_empty() {
        *secret = Secret::new(secret.expose());
        return Ok(());
    }
    if !secret.is_empty() {
        return Err(
            Error::new(ErrorKind::Config, key, format!("and {key}_file are both set"))
                .hint("keep one of them"),
        );
    }
    let text = std::fs::read_to_string(file)
        .map_err(|e| Error::new(ErrorKind::Config, format!("{key}_file {file}"), e.to_string()))?;
    *secret = Secret::new(&text);
    if secret.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("{key}_file {file}"),
            "is empty",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, env: &[(&str, &str)]) -> Result<Config> {
        let dir = tempfile::tempdir().expect("folder");
        let path = file.map(|text| {
            let path = dir.path().join("telelake.toml");
            std::fs::write(&path, text).expect("written");
            path
        });
        let env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::load(&Source { file: path, env })
    }

    #[test]
    fn the_environment_lies_over_the_file_and_keeps_types() {
        let config = load(
            Some("timezone = \"Europe/Moscow\"\n[api]\ntoken = \"a\"\nconcurrency = 2\n"),
            &[
                ("TELELAKE_API__TOKEN", "12345"),
                ("TELELAKE_API__REQUESTS_PER_SECOND", "2"),
                ("TELELAKE_SCOPE__SPACES", "a, b"),
                ("TELELAKE_SCHEDULE__CRON", "0 2 * * 1,3; 0 14 * * *"),
                ("TELELAKE_STORE__S3__PATH_STYLE", "true"),
                ("TELELAKE_EXPORT__REPORTS", "[\"xlsx\"]"),
                ("TELELAKE_SERVICE_PORT_HTTP", "80"),
                ("TELELAKE_PORT", "tcp://10.0.0.1:80"),
                ("TELELAKE_CONFIG", "x"),
                ("PATH", "/bin"),
            ],
        )
        .expect("loads");
        assert_eq!(config.api.token.expose(), "12345");
        assert_eq!((config.api.concurrency, config.api.requests_per_second), (2, 2.0));
        assert_eq!(config.scope.spaces, ["a", "b"]);
        assert_eq!(config.schedule.cron, ["0 2 * * 1,3", "0 14 * * *"]);
        assert!(config.store.s3.path_style);
        assert_eq!(config.export.reports, [super::super::ReportFormat::Xlsx]);
        assert_eq!(config.timezone, chrono_tz::Tz::Europe__Moscow);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let error = load(Some("[api]\ntoken = \"a\"\ntokn = \"b\"\n"), &[]).expect_err("unknown");
        assert!(
            error.to_string().contains("telelake.toml:3") && error.to_string().contains("`tokn`"),
            "{error}"
        );
        for name in [
            "TELELAKE_API__TOKN",
            "TELELAKE_APY__TOKEN",
            "TELELAKE_TIMEZON",
            "TELELAKE_API",
        ] {
            let error = load(None, &[(name, "x")]).expect_err("unknown");
            assert_eq!((error.about(), error.kind()), (name, ErrorKind::Config));
        }
    }

    #[test]
    fn a_key_that_is_gone_is_named_with_what_became_of_it() {
        let file = load(Some("[meta]\nfeeds = []\nwindow_days = 7\n"), &[]).expect_err("gone");
        let variable = load(None, &[("TELELAKE_META__WINDOW_DAYS", "7")]).expect_err("gone");
        for (error, about) in [(&file, "telelake.toml:3"), (&variable, "TELELAKE_META__WINDOW_DAYS")] {
            let shown = error.to_string();
            assert!(shown.contains(about) && shown.contains("window_days"), "{shown}");
            assert!(shown.contains("joins by its keys"), "{shown}");
        }
    }

    #[test]
    fn values_of_a_wrong_kind_are_refused() {
        for text in [
            "timezone = \"Mars/Base\"",
            "[api]\ntimeout = \"soon\"",
            "[store.s3]\npart_size = \"big\"",
            "[api]\nconcurrency = -1",
        ] {
            assert_eq!(load(Some(text), &[]).expect_err(text).kind(), ErrorKind::Config);
        }
        assert_eq!(
            load(None, &[("TELELAKE_API__CONCURRENCY", "many")])
                .expect_err("word")
                .about(),
            "TELELAKE_API__CONCURRENCY"
        );
    }

    #[test]
    fn a_secret_stands_in_a_file_or_in_the_configuration_not_in_both() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("token");
        std::fs::write(&path, "from-file\n").expect("written");
        let file = path.to_str().expect("UTF-8");
        let config = load(None, &[("TELELAKE_API__TOKEN_FILE", file)]).expect("loads");
        assert_eq!(config.api.token.expose(), "from-file");
        let both = load(
            None,
            &[("TELELAKE_API__TOKEN_FILE", file), ("TELELAKE_API__TOKEN", "x")],
        );
        assert!(both.expect_err("both").to_string().contains("api.token_file"));
        let missing = load(None, &[("TELELAKE_API__TOKEN_FILE", "/does/not/exist")]);
        assert!(
            missing
                .expect_err("missing")
                .to_string()
                .contains("/does/not/exist")
        );
    }
}

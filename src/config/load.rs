//! Loading of the configuration: a TOML file, and the environment, which overrides it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::secret::{self, Folders};
use super::{Config, nearest};
use crate::{Error, ErrorKind, Result};

/// The prefix of our variables: `TELELAKE_<SECTION>__<KEY>`.
const PREFIX: &str = "TELELAKE_";
/// Our variables that are no configuration keys.
const NOT_KEYS: [&str; 4] = [
    "TELELAKE_CONFIG",
    "TELELAKE_LOG_FORMAT",
    "TELELAKE_SHARDS",
    "TELELAKE_JOB",
];
/// The files to try if none is named; the first that exists is read.
const DEFAULT_FILES: [&str; 2] = ["telelake.toml", "/etc/telelake/telelake.toml"];
/// The last names of keys that were removed, each with a hint.
const REMOVED: [(&str, &str); 1] = [(
    "window_days",
    "remove it: lesson data now joins by its keys, externalUserId and externalMeetingId, whatever its date",
)];

/// The inputs of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file that the user named, which must exist.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Our variables whose value is not UTF-8.
    pub unreadable: Vec<String>,
}

impl Source {
    /// The environment of the process, and `file` (from the command line or `$TELELAKE_CONFIG`), or else
    /// `./telelake.toml`, or else `/etc/telelake/telelake.toml`.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let file = file.or_else(|| first_existing(DEFAULT_FILES.map(PathBuf::from)));
        Self::new(file, std::env::vars_os())
    }

    fn new(file: Option<PathBuf>, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut source = Self {
            file,
            ..Self::default()
        };
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => source.env.push((name, value)),
                (Ok(name), Err(_)) if name.starts_with(PREFIX) => source.unreadable.push(name),
                // A variable whose name is not UTF-8 cannot be ours.
                _ => {}
            }
        }
        source
    }
}

/// The first file that exists. A file that this user may not look at counts, so that reading it reports the reason.
fn first_existing(files: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    files.into_iter().find(|file| file.try_exists().unwrap_or(true))
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// `Config`, which names the file and line, the variable or the key.
    pub fn load(source: &Source) -> Result<Self> {
        if let Some(name) = source.unreadable.first() {
            return Err(Error::new(ErrorKind::Config, name, "is not UTF-8"));
        }
        let template = Table::try_from(Config::default())
            .map_err(|e| Error::new(ErrorKind::Internal, "default configuration", e.to_string()))?;
        let mut table = match &source.file {
            Some(path) => read_file(path, &template)?,
            None => Table::new(),
        };
        for (name, value) in &source.env {
            if let Some(path) = key_path(name, value) {
                let refuse = |why: String| refused(name.clone(), why);
                overlay(&mut table, &template, &path, value).map_err(refuse)?;
                // Checked after each variable, so that the error can name it.
                table
                    .clone()
                    .try_into::<Config>()
                    .map_err(|e: toml::de::Error| refuse(one_line(e.message())))?;
            }
        }
        let mut config: Config = table
            .try_into()
            .map_err(|e: toml::de::Error| refused("configuration".into(), one_line(e.message())))?;
        secret::prepare(&mut config, &Folders::new(source.file.as_deref(), &source.env))?;
        config.validate()?;
        Ok(config)
    }
}

/// Parses the file alone, so that an error can name its line.
fn read_file(path: &Path, template: &Table) -> Result<Table> {
    let about = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run as the user of the daemon: `sudo -u telelake telelake …`"
            }
            _ => "`telelake config example` prints one to start from",
        };
        Error::new(ErrorKind::Config, about.clone(), e.to_string()).hint(hint)
    })?;
    let at = |e: &toml::de::Error| match e.span() {
        Some(span) => format!(
            "{about}:{}",
            1 + text[..span.start.min(text.len())].matches('\n').count()
        ),
        None => about.clone(),
    };
    let refuse = |e: &toml::de::Error| (at(e), one_line(e.message()));
    let table: Table = toml::from_str(&text).map_err(|e| {
        let (about, why) = refuse(&e);
        refused(about, why)
    })?;
    match toml::from_str::<Config>(&text) {
        Ok(_) => Ok(table),
        Err(error) => {
            let (about, why) = refuse(&error);
            let keys = nearest::keys(template);
            let known = keys.iter().map(String::as_str);
            let meant = nearest::unknown(&table, template).and_then(|key| nearest::nearest(&key, known));
            Err(match (hint_if_removed(&why), meant) {
                (None, Some(key)) => {
                    Error::new(ErrorKind::Config, about, why).hint(format!("the nearest key is `{key}`"))
                }
                _ => refused(about, why),
            })
        }
    }
}

/// The hint for a removed key, if the refusal names one.
fn hint_if_removed(why: &str) -> Option<&'static str> {
    let names = |key: &str| why.contains(&format!("`{key}`")) || why.contains(&format!(".{key}`"));
    REMOVED.iter().find(|(key, _)| names(key)).map(|(_, hint)| *hint)
}

/// The error of a configuration that cannot be read, with a hint if it uses a removed key.
fn refused(about: String, why: String) -> Error {
    let hint = hint_if_removed(&why);
    let error = Error::new(ErrorKind::Config, about, why);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The key that a variable sets, as lower-case segments; `None` if the variable is not ours.
fn key_path(name: &str, value: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(PREFIX)?;
    if NOT_KEYS.contains(&name) || is_service_link(rest, value) {
        return None;
    }
    Some(rest.split("__").map(str::to_ascii_lowercase).collect())
}

/// True if Kubernetes or Docker set the variable. They describe a service named `telelake…` to its neighbours in variables
/// with our prefix. A key of ours with a similar name has a different kind of value.
fn is_service_link(rest: &str, value: &str) -> bool {
    // `NAME_SERVICE_HOST`, or `SERVICE_HOST` if the service is called `telelake`.
    let ends = |end: &str| rest == end || rest.strip_suffix(end).is_some_and(|name| name.ends_with('_'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_address = |text: &str| {
        let (scheme, port) = text.split_once("://").unwrap_or_default();
        matches!(scheme, "tcp" | "udp" | "sctp") && port.contains(':')
    };
    // `NAME_PORT_80_TCP` and `NAME_PORT_80_TCP_ADDR`: take the part after the last `PORT_`.
    let of_port = rest.rsplit_once("PORT_").map(|(_, of_port)| of_port);
    let mut parts = of_port.unwrap_or_default().split('_');
    let describes_port =
        parts.next().is_some_and(is_number) && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"));
    let port_name = rest.split_once("SERVICE_PORT_");
    ends("SERVICE_HOST")
        || (ends("SERVICE_PORT") && is_number(value))
        || (port_name.is_some_and(|(name, _)| name.is_empty() || name.ends_with('_')) && is_number(value))
        || (ends("PORT") && is_address(value))
        || describes_port
}

/// The message about an unknown key, with the nearest variable.
fn unknown(path: &[String], template: &Table) -> String {
    let key = path.join(".");
    let keys = nearest::keys(template);
    let others = NOT_KEYS.map(|name| name.trim_start_matches(PREFIX));
    let known = keys.iter().map(String::as_str).chain(others);
    let meant = nearest::nearest(&key, known).unwrap_or_default();
    let variable = meant.to_ascii_uppercase().replace('.', "__");
    format!("there is no configuration key `{key}`; the nearest variable is {PREFIX}{variable}")
}

/// Sets a key. `template` holds the defaults, which define the known keys and their types, so that a token of digits stays
/// text.
fn overlay(
    table: &mut Table,
    template: &Table,
    path: &[String],
    text: &str,
) -> std::result::Result<(), String> {
    let [section @ .., key] = path else {
        return Err("names no key".into());
    };
    let all = template;
    let unknown = || unknown(path, all);
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
        // A table without keys takes any key.
        Value::Table(known) if known.is_empty() => inline_table(text)?,
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

/// Reads a table: an inline table of TOML.
fn inline_table(text: &str) -> std::result::Result<Value, String> {
    let wrong = || "is not a table such as { \"participants.email\" = \"null\" }".to_string();
    let parsed: Table = format!("v = {}", text.trim()).parse().map_err(|_| wrong())?;
    let value = parsed.into_iter().next().map(|(_, value)| value);
    value.filter(Value::is_table).ok_or_else(wrong)
}

/// Reads a list: a TOML array, or items separated by commas. Cron expressions contain commas, so `;` separates them.
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
        Config::load(&Source {
            file: path,
            env,
            unreadable: Vec::new(),
        })
    }

    #[test]
    fn the_file_in_the_working_directory_wins_over_that_of_the_machine() {
        let folder = tempfile::tempdir().expect("folder");
        let (here, machine) = (folder.path().join("here"), folder.path().join("machine"));
        let found = || first_existing([here.clone(), machine.clone()]);
        assert_eq!(found(), None);
        std::fs::write(&machine, "").expect("written");
        assert_eq!(found().as_ref(), Some(&machine));
        std::fs::write(&here, "").expect("written");
        assert_eq!(found().as_ref(), Some(&here));
    }

    #[test]
    fn the_environment_overrides_the_file_and_keeps_types() {
        let config = load(
            Some("timezone = \"Europe/Moscow\"\n[api]\ntoken = \"a\"\nconcurrency = 2\n"),
            &[
                ("TELELAKE_API__TOKEN", "12345"),
                ("TELELAKE_API__REQUESTS_PER_SECOND", "2"),
                ("TELELAKE_SCOPE__SPACES", "a, b"),
                ("TELELAKE_SCHEDULE__CRON", "0 2 * * 1,3; 0 14 * * *"),
                ("TELELAKE_STORE__S3__PATH_STYLE", "true"),
                ("TELELAKE_EXPORT__REPORTS", "[\"xlsx\"]"),
                ("TELELAKE_PRIVACY__COLUMNS", "{ \"*.email\" = \"null\" }"),
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
        let columns = [("*.email".to_owned(), super::super::ColumnTreatment::Null)];
        assert_eq!(config.privacy.columns, columns.into());
        for wrong in ["x", "[1]", "{ x = \"y\" }", "{"] {
            let error = load(None, &[("TELELAKE_PRIVACY__COLUMNS", wrong)]).expect_err("no table");
            assert_eq!(error.about(), "TELELAKE_PRIVACY__COLUMNS", "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = load(Some("[api]\ntoken = \"a\"\ntokn = \"b\"\n"), &[]).expect_err("unknown");
        assert!(
            error.to_string().contains("telelake.toml:3") && error.to_string().contains("`tokn`"),
            "{error}"
        );
        assert!(
            error.to_string().contains("the nearest key is `api.token`"),
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
    fn a_removed_key_is_named_with_a_hint() {
        let file = load(Some("[meta]\nfeeds = []\nwindow_days = 7\n"), &[]).expect_err("gone");
        let variable = load(None, &[("TELELAKE_META__WINDOW_DAYS", "7")]).expect_err("gone");
        for (error, about) in [
            (&file, "telelake.toml:3"),
            (&variable, "TELELAKE_META__WINDOW_DAYS"),
        ] {
            let shown = error.to_string();
            assert!(shown.contains(about) && shown.contains("window_days"), "{shown}");
            assert!(shown.contains("joins by its keys"), "{shown}");
        }
    }

    #[test]
    fn values_of_the_wrong_type_are_refused() {
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
    fn one_underscore_too_few_is_an_error_with_the_right_name() {
        for (name, right) in [
            ("TELELAKE_EXPORT_RECORDINGS", "TELELAKE_EXPORT__RECORDINGS"),
            ("TELELAKE_EXPORT_REPORTS", "TELELAKE_EXPORT__REPORTS"),
            ("TELELAKE_API_TOKEN", "TELELAKE_API__TOKEN"),
            ("TELELAKE_STORE_S3__REGION", "TELELAKE_STORE__S3__REGION"),
            ("TELELAKE_SERVE_PORT", "TELELAKE_SERVE__TOKEN"),
            ("TELELAKE_LOGFORMAT", "TELELAKE_LOG_FORMAT"),
        ] {
            let error = load(None, &[(name, "false")]).expect_err(name);
            assert_eq!((error.about(), error.kind()), (name, ErrorKind::Config));
            assert!(error.to_string().contains(right), "{error}");
        }
    }

    #[test]
    fn service_variables_of_kubernetes_and_docker_are_ignored() {
        let links = [
            ("TELELAKE_SERVICE_HOST", "10.0.0.1"),
            ("TELELAKE_SERVICE_PORT", "80"),
            ("TELELAKE_SERVICE_PORT_HTTP", "80"),
            ("TELELAKE_PORT", "tcp://10.0.0.1:80"),
            ("TELELAKE_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("TELELAKE_PORT_80_TCP_PROTO", "tcp"),
            ("TELELAKE_EXPORT_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("TELELAKE_EXPORT_SERVICE_PORT_METRICS", "8080"),
            ("TELELAKE_EXPORT_PORT", "udp://10.0.0.1:53"),
        ];
        assert_eq!(
            load(None, &links).expect("loads"),
            load(None, &[]).expect("loads")
        );
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_an_error_only_if_it_is_ours() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(b"/etc/\xff".to_vec());
        let of = |name: &str| Source::new(None, [(name.into(), odd()), (odd(), "x".into())].into_iter());
        Config::load(&of("LESSOPEN")).expect("another's");
        let error = Config::load(&of("TELELAKE_API__TOKEN_FILE")).expect_err("ours");
        assert_eq!(
            (error.about(), error.kind()),
            ("TELELAKE_API__TOKEN_FILE", ErrorKind::Config)
        );
    }

    #[test]
    fn a_wrong_zone_is_refused_with_a_suggestion() {
        let of_file = load(Some("timezone = \"MSK\"\n"), &[]).expect_err("no zone");
        let of_env = load(None, &[("TELELAKE_TIMEZONE", "MSK")]).expect_err("no zone");
        for error in [of_file, of_env] {
            assert!(
                error.to_string().contains("`MSK`") && error.to_string().contains("`Europe/Moscow`"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_file_may_contain_what_people_and_editors_add() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("token");
        let file = path.to_str().expect("UTF-8");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            load(None, &[("TELELAKE_API__TOKEN_FILE", file)])?.require_token()
        };
        for text in [
            "\u{feff}abc.d-1\r\n",
            "\"abc.d-1\"",
            "Bearer abc.d-1\n",
            " 'Bearer abc.d-1' ",
        ] {
            assert_eq!(read(text.as_bytes()).expect("reads").expose(), "abc.d-1");
        }
        for (bytes, why) in [
            (&b"abc d-1"[..], "white space as character 4 of 7"),
            (b"abc\nd-1", "a line break as character 4 of 7"),
            (b"\xff\xfea\0b\0", "is UTF-16"),
            (b"abc\xe9", "is not UTF-8"),
            (b"\xef\xbb\xbf\"\"\n", "is empty"),
        ] {
            let error = read(bytes).expect_err(why);
            assert!(
                error.to_string().contains(why) && error.about().contains(file),
                "{error}"
            );
            assert!(
                !error.to_string().contains("abc") && !error.to_string().contains("d-1"),
                "{error}"
            );
        }
        let inline = |token| load(None, &[("TELELAKE_API__TOKEN", token)]);
        assert_eq!(inline("Bearer abc").expect("loads").api.token.expose(), "abc");
        assert_eq!(inline("abc def").expect_err("two words").about(), "api.token");
    }

    #[test]
    fn a_secret_may_not_be_in_a_file_and_in_the_configuration() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("token");
        std::fs::write(&path, "from-file\n").expect("written");
        let file = path.to_str().expect("UTF-8");
        let config = load(None, &[("TELELAKE_API__TOKEN_FILE", file)]).expect("loads");
        assert_eq!(config.require_token().expect("reads").expose(), "from-file");
        let both = load(
            None,
            &[("TELELAKE_API__TOKEN_FILE", file), ("TELELAKE_API__TOKEN", "x")],
        );
        assert!(both.expect_err("both").to_string().contains("api.token_file"));
    }
}

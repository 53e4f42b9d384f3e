//! Runs a test again in a process with another environment, because that of a running process cannot be changed safely.

use std::process::Command;

/// The variable that is set in the process that runs the body.
const INNER: &str = "TELELAKE_TEST_INNER";

/// Runs `body` in a process of its own with `environment` set and without AWS's variables. `name` is the
/// calling test's path in the binary (`store::over_https`).
pub fn with_environment<'a>(
    name: &str,
    environment: impl FnOnce() -> Vec<(&'a str, String)>,
    body: impl AsyncFnOnce(),
) {
    if std::env::var(INNER).is_ok_and(|inner| inner == name) {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(body());
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    for (inherited, _) in std::env::vars_os() {
        if inherited.to_string_lossy().starts_with("AWS_") {
            command.env_remove(inherited);
        }
    }
    let output = command
        .env(INNER, name)
        .env("HOME", home.path())
        .envs(environment())
        .output()
        .unwrap();
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "in its own process:\n{shown}");
    assert!(
        shown.contains("1 passed"),
        "`{name}` is not the calling test's path:\n{shown}"
    );
}

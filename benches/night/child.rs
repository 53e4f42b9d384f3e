//! Runs a program to its end, and measures its wall time, processor time and peak memory as the kernel accounts for them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use telelake::simulator::Simulator;
use tokio::process::Command;

use crate::support::lake::Lake;

/// Starts the program and waits for it, in a small process of its own, because the peak memory of a process begins with
/// that of the one that started it: this process holds a whole school.
const LAUNCHER: &str = r"
import json, os, subprocess, sys, time
began = time.monotonic()
child = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(child.pid, 0)
wall = time.monotonic() - began
with open(sys.argv[1], 'w') as file:
    json.dump({'wall': wall, 'cpu': used.ru_utime + used.ru_stime, 'peak': used.ru_maxrss * 1024,
               'status': os.waitstatus_to_exitcode(status)}, file)
";

/// Names another binary of telelake to measure, such as one of an earlier version.
const OTHER: &str = "TELELAKE_BENCH_PROGRAM";

/// The measurements of a finished process.
pub struct Measured {
    pub wall: Duration,
    /// In user mode and in the kernel.
    pub cpu: Duration,
    /// In bytes.
    pub peak_memory: u64,
    /// The JSON that it printed.
    pub printed: Value,
}

impl Measured {
    /// A number of the run's summary.
    pub fn count(&self, name: &str) -> u64 {
        self.printed["counts"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {name}: {}", self.printed))
    }
}

/// A command that inherits no configuration from the environment of this process.
pub struct Program {
    program: PathBuf,
    command: Command,
    figures: tempfile::NamedTempFile,
}

impl Program {
    fn new(program: PathBuf) -> Self {
        let figures = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(python());
        command.arg("-c").arg(LAUNCHER).arg(figures.path()).arg(&program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["TELELAKE_", "AWS_", "PYTHON"]
                .iter()
                .any(|of| name.starts_with(of))
            {
                command.env_remove(name);
            }
        }
        Self {
            program,
            command,
            figures,
        }
    }

    /// telelake with a lake, and a summary in JSON.
    pub fn telelake(lake: &Lake, args: &[&str]) -> Self {
        let built = env!("CARGO_BIN_EXE_telelake").into();
        let mut program = Self::new(std::env::var_os(OTHER).map_or(built, PathBuf::from));
        program.command.args(["--log-format", "json"]).args(args);
        let program = program.env("TELELAKE_STORE__URL", &lake.url());
        let environment = lake.environment();
        environment
            .into_iter()
            .fold(program, |program, (name, value)| program.env(name, &value))
    }

    /// The baseline script with a lake, against a simulator.
    pub fn script(sim: &Simulator, lake: &Lake, args: &[&str]) -> Self {
        let mut program = Self::new(python());
        let url = lake.url();
        let dates = &sim.options().dates;
        program
            .command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baseline/export.py"))
            .args([
                "--api",
                &sim.base_url(),
                "--lake",
                url.trim_start_matches("file://"),
            ])
            .args([
                "--from",
                &dates[0].to_string(),
                "--to",
                &dates[dates.len() - 1].to_string(),
            ])
            .args(args);
        let mut program = program.env("API_TOKEN", sim.token());
        for (name, value) in lake.environment() {
            program = match name {
                "TELELAKE_STORE__S3__ENDPOINT_URL" => program.env("S3_ENDPOINT", &value),
                _ => program.env(name, &value),
            };
        }
        program
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the program, which must succeed.
    pub async fn run(mut self) -> Measured {
        let output = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let figures = std::fs::read(self.figures.path()).unwrap();
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let figures: Value = serde_json::from_slice(&figures).unwrap_or_else(|e| panic!("{e}: {stderr}"));
        assert_eq!(
            figures["status"],
            0,
            "{}:\n{stdout}\n{stderr}",
            self.program.display()
        );
        let seconds = |name: &str| Duration::from_secs_f64(figures[name].as_f64().unwrap());
        Measured {
            wall: seconds("wall"),
            cpu: seconds("cpu"),
            peak_memory: figures["peak"].as_u64().unwrap(),
            printed: serde_json::from_str(stdout.lines().next().unwrap_or_default()).unwrap_or_default(),
        }
    }
}

/// The Python of the tools, whose packages `make tools` installs.
fn python() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), ".tools/venv/bin/python"]
        .iter()
        .collect()
}

/// The run with the median wall time.
pub fn median(mut runs: Vec<Measured>) -> Measured {
    runs.sort_by_key(|run| run.wall);
    runs.swap_remove(runs.len() / 2)
}

//! The program as its users run it: a process with arguments, an environment, an exit status and two streams.

use std::process::Stdio;

use telelake::simulator::Simulator;
use tokio::process::{Child, Command};

use super::lake::Lake;

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// The most memory that it had, in bytes, as seen while it ran.
    pub peak_memory: u64,
}

impl Finished {
    /// The run's summary, of a run with `--log-format json`.
    pub fn summary(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A number of the summary.
    pub fn count(&self, name: &str) -> u64 {
        self.summary()["counts"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no count {name}: {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// A command to be run.
pub struct Telelake(Command);

impl Telelake {
    /// Without anything of this process's environment that would configure it.
    pub fn new(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telelake"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("TELELAKE_") || name.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self(command)
    }

    /// Against a simulator and a lake, with settled calls and few retries.
    pub fn against(sim: &Simulator, lake: &Lake, args: &[&str]) -> Self {
        Self::new(args)
            .env("TELELAKE_API__BASE_URL", &sim.base_url())
            .env("TELELAKE_API__TOKEN", sim.token())
            .lake(lake)
    }

    pub fn lake(mut self, lake: &Lake) -> Self {
        self = self.env("TELELAKE_STORE__URL", &lake.url());
        for (name, value) in lake.environment() {
            self = self.env(name, &value);
        }
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn in_folder(mut self, folder: &std::path::Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub fn start(mut self) -> Child {
        self.0.spawn().unwrap()
    }

    pub async fn run(self) -> Finished {
        let child = self.start();
        let memory = child.id().map(|id| tokio::spawn(watch_memory(id)));
        let output = child.wait_with_output().await.unwrap();
        let peak_memory = match memory {
            Some(watch) => watch.await.unwrap(),
            None => 0,
        };
        Finished {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            peak_memory,
        }
    }
}

/// Reads the kernel's own high-water mark until the process is gone.
async fn watch_memory(id: u32) -> u64 {
    let mut peak = 0;
    while let Ok(status) = tokio::fs::read_to_string(format!("/proc/{id}/status")).await {
        let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else {
            break;
        };
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        peak = kibibytes * 1024;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    peak
}

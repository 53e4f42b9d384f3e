//! The program as its users run it: a process with arguments, an environment, an exit status and two streams.

use std::process::Stdio;
use std::time::Duration;

use telelake::simulator::Simulator;
use tokio::process::{Child, Command};

use super::lake::Lake;

/// The output and measurements of a finished process.
#[derive(Debug)]
pub struct Finished {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// The peak memory in bytes, as last seen while it ran.
    pub peak_memory: u64,
    /// The bytes that the kernel wrote to disks for it, as last seen while it ran.
    pub disk_written: u64,
    /// The processor time, as last seen while it ran. Only the benches use it, because no test asserts times.
    #[allow(dead_code)]
    pub cpu: Duration,
}

impl Finished {
    /// The result, of a run with `--log-format json`: the summary, with short lists.
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
    /// A command that inherits no configuration from the environment of this process.
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

    /// A command against a simulator and a lake. The school is years old, and missing data counts as late, not as lost.
    pub fn against(sim: &Simulator, lake: &Lake, args: &[&str]) -> Self {
        Self::new(args)
            .env("TELELAKE_EXPORT__GIVE_UP", "100years")
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
        let meters = child.id().map(|id| tokio::spawn(watch(id)));
        let output = child.wait_with_output().await.unwrap();
        let meters = match meters {
            Some(meters) => meters.await.unwrap(),
            None => Meters::default(),
        };
        Finished {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            peak_memory: meters.peak_memory,
            disk_written: meters.disk_written,
            cpu: meters.cpu,
        }
    }
}

#[derive(Default)]
struct Meters {
    peak_memory: u64,
    disk_written: u64,
    cpu: Duration,
}

/// Reads the kernel's own high-water mark of memory, its count of bytes sent to disks and the time of processors, until
/// the process is gone.
async fn watch(id: u32) -> Meters {
    let mut meters = Meters::default();
    loop {
        let Some(kibibytes) = kernel_says(id, "status", "VmHWM:").await else {
            return meters;
        };
        meters.peak_memory = kibibytes * 1024;
        meters.disk_written = kernel_says(id, "io", "write_bytes:")
            .await
            .unwrap_or(meters.disk_written);
        meters.cpu = cpu(id).await.unwrap_or(meters.cpu);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The processor time of a process, in user mode and kernel; `None` once it has ended.
async fn cpu(id: u32) -> Option<Duration> {
    let text = tokio::fs::read_to_string(format!("/proc/{id}/stat")).await.ok()?;
    // The name may hold blanks; after it come the state and ten more fields, then both times in hundredths.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut hundredths = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (hundredths()? + hundredths()?)))
}

/// A number in a file of the process in `/proc`; `None` once it has ended.
pub async fn kernel_says(id: u32, file: &str, name: &str) -> Option<u64> {
    let text = tokio::fs::read_to_string(format!("/proc/{id}/{file}"))
        .await
        .ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().trim_end_matches(" kB").parse().unwrap())
}

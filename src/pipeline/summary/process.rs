//! The process that does a run, and the check that it is still alive. Reads `/proc` where the system has one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The ids of the runs that this process is doing.
static OWN_RUNS: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

fn own_runs() -> MutexGuard<'static, BTreeSet<String>> {
    OWN_RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process, as a run's summary names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// The machine's name.
    pub host: String,
    /// The process's number.
    pub pid: u32,
    /// The pid namespace: each container of a machine counts its processes from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<String>,
    /// The program's version.
    pub version: String,
}

impl Process {
    /// This process.
    pub(crate) fn own() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"));
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        Self {
            host: host.map(|host| host.trim().to_owned()).unwrap_or_default(),
            pid: std::process::id(),
            pid_namespace: namespace.map(|path| path.to_string_lossy().into_owned()),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// True if this process certainly no longer does the run. Of a process on another machine, nothing is certain.
    pub(crate) fn has_left(&self, run: &str) -> bool {
        let own = Self::own();
        let is_near = !own.host.is_empty()
            && own.pid_namespace.is_some()
            && (&own.host, &own.pid_namespace) == (&self.host, &self.pid_namespace);
        if !is_near {
            return false;
        }
        if self.pid == own.pid {
            return !own_runs().contains(run);
        }
        !Path::new(&format!("/proc/{}", self.pid)).exists()
    }
}

/// Marks a run as being done by this process, until it is dropped.
#[derive(Debug)]
pub(crate) struct OwnRun(String);

impl OwnRun {
    pub fn begin(run: &str) -> Self {
        own_runs().insert(run.to_owned());
        Self(run.to_owned())
    }
}

impl Drop for OwnRun {
    fn drop(&mut self) {
        own_runs().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_machine_that_is_gone_has_left_its_runs() {
        let own = Process::own();
        let run = OwnRun::begin("at work");
        assert!(!own.has_left("at work"));
        assert!(own.has_left("of another life with the same number"));
        drop(run);
        assert!(own.has_left("at work"));
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pid = child.id();
        child.wait().expect("its end");
        let gone = Process {
            pid,
            ..Process::own()
        };
        assert!(gone.has_left("any"));
        let parent = Process {
            pid: std::os::unix::process::parent_id(),
            ..Process::own()
        };
        assert!(!parent.has_left("any"), "it lives");
        for far in [
            Process {
                host: "elsewhere".into(),
                ..gone.clone()
            },
            Process {
                pid_namespace: Some("pid:[1]".into()),
                ..gone
            },
        ] {
            assert!(!far.has_left("any"), "nothing is known of {far:?}");
        }
    }
}

//! Files that have no name while they are written. If the process is killed, nothing of them is left. Only Linux has them, and
//! not on every file system; callers write a temporary file instead.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes a file without a name in the folder of `path`, and the folder if it is missing.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let create = || {
        let _owned = super::MAKING_FOLDER.read();
        open(path)
    };
    match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), super::make_folders)?;
            create()
        }
        made => made,
    }
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(path.parent().unwrap_or(path), flags, Mode::from_raw_mode(0o640))?;
    let file = File::from(file);
    crate::owner::inherit_file(&file, path);
    Ok(file)
}

/// Gives the file a name, which must be free.
#[cfg(target_os = "linux")]
pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    use rustix::fs::{AtFlags, CWD, linkat};

    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn open(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

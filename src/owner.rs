//! The owner of new files. An operator may call the program as root beside a daemon of another user; then a new file or
//! folder gets the owner and the group of the folder that it lies in, so that the daemon can read it.

use std::fs::File;
use std::path::Path;

/// Gives a new file that root made to the owner of its folder. A failure is only logged, because root of a container may
/// not be allowed to.
pub fn inherit_file(file: &File, path: &Path) {
    #[cfg(unix)]
    if let Some((user, group)) = file.metadata().ok().and_then(|made| of_service(&made, path))
        && let Err(error) = std::os::unix::fs::fchown(file, Some(user), Some(group))
    {
        tracing::debug!(path = %path.display(), %error, "the file stays root's");
    }
}

/// Gives a new folder that root made to the owner of the folder above it, as [`inherit_file`] does.
pub fn inherit_folder(path: &Path) {
    #[cfg(unix)]
    if let Some((user, group)) = path
        .symlink_metadata()
        .ok()
        .and_then(|made| of_service(&made, path))
        && let Err(error) = std::os::unix::fs::lchown(path, Some(user), Some(group))
    {
        tracing::debug!(path = %path.display(), %error, "the folder stays root's");
    }
}

/// The user and the group that a new file or folder should belong to; none if root did not make it or owns its folder too.
#[cfg(unix)]
fn of_service(made: &std::fs::Metadata, path: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    const ROOT: u32 = 0;
    if made.uid() != ROOT {
        return None;
    }
    let folder = path.parent()?.metadata().ok()?;
    (folder.uid() != ROOT).then(|| (folder.uid(), folder.gid()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    /// The owner and group of a file or folder.
    fn owner(path: &Path) -> (u32, u32) {
        let metadata = path.symlink_metadata().expect("metadata");
        (metadata.uid(), metadata.gid())
    }

    #[test]
    fn files_that_root_makes_in_a_services_folder_belong_to_the_service() {
        let folder = tempfile::tempdir().expect("folder");
        let own = owner(folder.path());
        let make = |name: &str| {
            let (file, below) = (folder.path().join(name), folder.path().join(format!("{name}.d")));
            inherit_file(&File::create(&file).expect("file"), &file);
            std::fs::create_dir(&below).expect("folder");
            inherit_folder(&below);
            [owner(&file), owner(&below)]
        };
        assert_eq!(make("own"), [own, own]);
        // Only root can give a folder away, so any other user has no more to prove.
        if chown(folder.path(), Some(12_345), Some(12_346)).is_ok() {
            assert_eq!(make("service"), [(12_345, 12_346); 2]);
        }
    }
}

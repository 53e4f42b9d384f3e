//! The program `telelake`: all of it is in the library, but for a setting of the C library's allocator.

fn main() -> std::process::ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    limit_arenas();
    telelake::cli::main().into()
}

/// Starts the program again, as the same process, with a limit for the arenas of glibc's allocator, which reads it only at the
/// start. Without the limit, threads that each keep memory for themselves double the peak: `docs/performance.md` has figures.
/// If the program can't be started again, it goes on as it is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit_arenas() {
    use std::os::unix::process::CommandExt;

    const LIMIT: &str = "MALLOC_ARENA_MAX";
    let tunables = std::env::var_os("GLIBC_TUNABLES").unwrap_or_default();
    if std::env::var_os(LIMIT).is_some() || tunables.to_string_lossy().contains("glibc.malloc.arena_max") {
        return;
    }
    let mut args = std::env::args_os();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), args.next()) {
        let _failed = std::process::Command::new(program)
            .arg0(name)
            .args(args)
            .env(LIMIT, "2")
            .exec();
    }
}

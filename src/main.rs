//! The program `telelake`: all of it is in the library, but for the choice of an allocator.

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    telelake::cli::main().into()
}

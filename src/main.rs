//! The program `telelake`: all of it is in the library.

fn main() -> std::process::ExitCode {
    telelake::cli::main().into()
}

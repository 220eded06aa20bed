//! The command `ferry`.

fn main() -> std::process::ExitCode {
    coordinator::cli::main()
}

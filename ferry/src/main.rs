//! The program `ferry`: the coordinator's commands, and `ferry chaos`.

mod chaos;

use std::process::ExitCode;

use clap::Subcommand;
use coordinator::cli;

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Coordinator(Box<cli::Command>),
    Chaos(chaos::ChaosArgs),
}

fn main() -> ExitCode {
    cli::main(|command: &Command| match command {
        Command::Coordinator(command) => cli::run(command),
        Command::Chaos(args) => chaos::run(args).map_err(|failure| (failure, args.json)),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        cli::Cli::<Command>::command().debug_assert();
    }
}

//! `buntime completions SHELL`: what a shell needs to complete the command line.

use super::args::CommandLine;
use super::console::Console;
use super::failure::Failure;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    console.data(&script(arguments.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "buntime", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in CommandLine::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn bash_takes_the_script() {
        let mut bash =
            match std::process::Command::new("bash").args(["-n"]).stdin(std::process::Stdio::piped()).spawn()
            {
                Ok(bash) => bash,
                Err(error) => return crate::testing::skip("bash_takes_the_script", &error.to_string()),
            };
        std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script(Shell::Bash).as_bytes()).unwrap();
        assert!(bash.wait().unwrap().success());
    }
}

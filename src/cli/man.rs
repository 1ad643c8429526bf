//! `buntime man`: manual pages, made from the same grammar as `--help`.

use super::args::CommandLine;
use super::console::Console;
use super::failure::Failure;
use clap::{Args, CommandFactory};
use clap_mangen::Man;
use std::fs;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where to write a page for each command; without it the main page is printed
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let Some(dir) = &arguments.dir else {
        return console.data(&page(CommandLine::command())?);
    };
    let io =
        |error: std::io::Error| Failure::io(format_args!("write manual pages to {}", dir.display()), &error);
    fs::create_dir_all(dir).map_err(io)?;
    let pages = pages()?;
    for (name, text) in &pages {
        fs::write(dir.join(name), text).map_err(io)?;
    }
    console.talk(&format!("wrote {} to {}", super::text::count(pages.len() as u64, "page"), dir.display()));
    Ok(())
}

/// Names of files and what goes into them.
fn pages() -> Result<Vec<(String, String)>, Failure> {
    let mut main = CommandLine::command().disable_help_subcommand(true);
    main.build();
    let mut pages = vec![("buntime.1".to_owned(), page(main.clone())?)];
    let mut groups = vec![("buntime".to_owned(), main)];
    while let Some((above, group)) = groups.pop() {
        for command in group.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = format!("{above}-{}", command.get_name());
            pages.push((format!("{name}.1"), page(command.clone())?));
            groups.push((name, command.clone()));
        }
    }
    pages.sort();
    Ok(pages)
}

fn page(command: clap::Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    let rendered = Man::new(command).render(&mut text);
    rendered.map_err(|error| Failure::io("make a manual page", &error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        insta::assert_snapshot!(names.join("\n"));
        for (name, text) in &pages {
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}");
        }
    }
}

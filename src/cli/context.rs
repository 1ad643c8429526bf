//! `buntime context`: addresses and keys that are saved under a name.

use super::console::Console;
use super::failure::{Exit, Failure};
use super::process::Process;
use super::remote::{Address, Context, Contexts, Key, LOCAL, Output, check_name, contexts_path};
use super::table::{self, text};
use super::text::escape;
use clap::{Args, Subcommand};
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Save an address, and a key that is asked for or read from stdin or a file; it is used from then on
    Add(Add),
    /// Use this context where no other is named; `local` is the admin socket
    Use {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// List the contexts, keys masked
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Forget a context and its key
    Rm {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// What to call it
    #[arg(value_name = "NAME")]
    name: String,
    /// Address of the runtime, as in https://apps.example.com
    #[arg(long, value_name = "URL")]
    url: String,
    /// A file with the key
    #[arg(long, value_name = "FILE", conflicts_with = "no_key")]
    key_file: Option<PathBuf>,
    /// Save no key: BUNTIME_KEY gives it
    #[arg(long)]
    no_key: bool,
    /// What stands before /api at the address
    #[arg(long, value_name = "PATH")]
    api_prefix: Option<String>,
    /// Send the key over http also where others could read it
    #[arg(long)]
    insecure_http: bool,
    #[command(flatten)]
    output: Output,
}

impl Arguments {
    pub fn console(&self, process: &Process) -> Console {
        let output = match &self.command {
            Command::Add(add) => add.output,
            Command::Use { output, .. } | Command::List { output } | Command::Rm { output, .. } => *output,
        };
        Console::new(output.json, output.quiet, &process.environment)
    }
}

pub fn run(arguments: &Arguments, console: &Console, process: &Process) -> Result<(), Failure> {
    let path = contexts_path(&process.environment)?;
    let mut contexts = Contexts::read(&path)?;
    if let Some(warning) = &contexts.warning {
        console.warn(warning);
    }
    match &arguments.command {
        Command::List { .. } if console.json => console.raw(json(&contexts).to_string().as_bytes()),
        Command::List { .. } => console.data(&render(&contexts)),
        Command::Add(add) => {
            let said = add.to(&mut contexts, || read_key(console))?;
            contexts.write(&path)?;
            console.talk(&said);
            Ok(())
        }
        Command::Use { name, .. } => {
            let said = choose(name, &mut contexts)?;
            contexts.write(&path)?;
            console.talk(&said);
            Ok(())
        }
        Command::Rm { name, .. } => {
            let said = forget(name, &mut contexts)?;
            contexts.write(&path)?;
            console.talk(&said);
            Ok(())
        }
    }
}

impl Add {
    fn to(
        &self,
        contexts: &mut Contexts,
        ask: impl FnOnce() -> Result<Key, Failure>,
    ) -> Result<String, Failure> {
        check_name(&self.name).map_err(Failure::usage)?;
        let address = Address::parse(&self.url).map_err(|error| Failure::usage(error.to_string()))?;
        if !self.no_key && !self.insecure_http && !address.is_private() {
            return Err(Failure::usage(format!(
                "the key would go to {address}, and others could read it on the way"
            ))
            .hint("use https, or --insecure-http if the way there is private"));
        }
        let key = match (&self.key_file, self.no_key) {
            (Some(file), _) => Some(Key::of_file(Path::new(file))?),
            (None, true) => None,
            (None, false) => Some(ask()?),
        };
        let context = Context {
            url: address.to_string(),
            key,
            api_prefix: self.api_prefix.clone(),
            insecure_http: self.insecure_http,
        };
        contexts.contexts.insert(self.name.clone(), context);
        contexts.current = Some(self.name.clone());
        Ok(format!("saved {} for {address}; it is used from now on", self.name))
    }
}

fn choose(name: &str, contexts: &mut Contexts) -> Result<String, Failure> {
    if name == LOCAL {
        contexts.current = None;
        return Ok("the admin socket is used from now on".into());
    }
    let context = contexts.contexts.get(name).ok_or_else(|| unknown(name))?;
    contexts.current = Some(name.to_owned());
    Ok(format!("{name} ({}) is used from now on", escape(&context.url)))
}

fn forget(name: &str, contexts: &mut Contexts) -> Result<String, Failure> {
    contexts.contexts.remove(name).ok_or_else(|| unknown(name))?;
    let was_used = contexts.current.as_deref() == Some(name);
    if was_used {
        contexts.current = None;
    }
    Ok(format!("forgot {name}{}", if was_used { "; the admin socket is used from now on" } else { "" }))
}

fn unknown(name: &str) -> Failure {
    Failure::new(Exit::Missing, format!("there is no context `{}`", escape(name)))
        .hint("`buntime context list` lists them")
}

fn render(contexts: &Contexts) -> String {
    let columns = [text(""), text("NAME"), text("URL"), text("KEY")];
    let mark = |current: bool| if current { "*" } else { " " }.to_owned();
    let local =
        vec![mark(contexts.current.is_none()), LOCAL.to_owned(), "the admin socket".into(), String::new()];
    let rows = contexts.contexts.iter().map(|(name, context)| {
        vec![
            mark(contexts.current.as_ref() == Some(name)),
            escape(name).into_owned(),
            format!("{}{}", escape(&context.url), escape(context.api_prefix.as_deref().unwrap_or_default())),
            context.key.as_ref().map(Key::to_string).unwrap_or_default(),
        ]
    });
    table::render(&columns, [local].into_iter().chain(rows))
}

fn json(contexts: &Contexts) -> serde_json::Value {
    let list = contexts.contexts.iter().map(|(name, context)| {
        serde_json::json!({
            "name": name,
            "url": context.url,
            "apiPrefix": context.api_prefix.as_deref().unwrap_or_default(),
            "hasKey": context.key.is_some(),
            "insecureHttp": context.insecure_http,
        })
    });
    let list: Vec<_> = list.collect();
    serde_json::json!({ "current": contexts.current.as_deref().unwrap_or(LOCAL), "contexts": list })
}

/// From a terminal without showing it, else the whole of stdin.
fn read_key(console: &Console) -> Result<Key, Failure> {
    let io = |error: io::Error| Failure::io("read the key", &error);
    let text = if io::stdin().is_terminal() && console.stderr_is_terminal {
        let text = read_unseen("Key: ");
        eprintln!();
        text.map_err(io)?
    } else {
        let mut text = String::new();
        io::stdin().lock().take(4096).read_to_string(&mut text).map_err(io)?;
        text
    };
    Key::parse(&text)
        .map_err(|error| Failure::usage(error.to_string()).hint("give it with --key-file, or say --no-key"))
}

/// What is typed after the prompt is shown is unseen from the first letter.
fn read_unseen(prompt: &str) -> io::Result<String> {
    enable_raw_mode()?;
    eprint!("{prompt}");
    let _ = io::stderr().flush(); // a prompt that is not seen does not keep a key from being typed
    let typed = (|| {
        let mut text = String::new();
        loop {
            let Some(key) = event::read()?.as_key_event().filter(|key| key.kind != KeyEventKind::Release)
            else {
                continue;
            };
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('c' | 'd') if control => return Err(io::ErrorKind::Interrupted.into()),
                KeyCode::Enter => return Ok(text),
                KeyCode::Backspace => drop(text.pop()),
                KeyCode::Char(c) if !control => text.push(c),
                _ => {}
            }
        }
    })();
    disable_raw_mode()?;
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, url: &str, no_key: bool) -> Add {
        let output = Output::default();
        Add {
            name: name.into(),
            url: url.into(),
            key_file: None,
            no_key,
            api_prefix: None,
            insecure_http: false,
            output,
        }
    }

    fn key() -> Result<Key, Failure> {
        Ok(Key::parse("btk_secret").unwrap())
    }

    #[test]
    fn a_context_is_saved_used_listed_and_forgotten() {
        let mut contexts = Contexts::default();
        let mut said = vec![
            add("prod", "https://apps.example.com/", false).to(&mut contexts, key).unwrap(),
            add("lab", "http://10.0.0.1", true).to(&mut contexts, || panic!("asked")).unwrap(),
            choose("prod", &mut contexts).unwrap(),
        ];
        said.push(render(&contexts));
        said.push(format!("{:#}", json(&contexts)));
        said.push(choose("local", &mut contexts).unwrap());
        said.push(forget("lab", &mut contexts).unwrap());
        said.push(choose("lab", &mut contexts).unwrap_err().text(str::to_owned));
        said.push(choose("prod", &mut contexts).unwrap());
        said.push(forget("prod", &mut contexts).unwrap());
        let said = said.join("\n");
        assert!(!said.contains("secret"), "{said}");
        insta::assert_snapshot!(said);
    }

    #[test]
    fn a_key_is_not_saved_for_a_way_that_others_can_read() {
        let mut contexts = Contexts::default();
        assert!(add("lab", "http://10.0.0.1", false).to(&mut contexts, key).is_err());
        assert!(
            Add { insecure_http: true, ..add("lab", "http://10.0.0.1", false) }
                .to(&mut contexts, key)
                .is_ok()
        );
        assert!(add("local", "https://a", false).to(&mut contexts, key).is_err());
    }
}

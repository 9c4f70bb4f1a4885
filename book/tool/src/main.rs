//! The program: builds, serves and checks the book.
use anyhow::{Context, Result, bail};
use book_tool::book::{self, BookTool, NAME, Stale};
use book_tool::exercises::{self, Runner};
use book_tool::{runs, serve};
use clap::{Parser, Subcommand};
use mdbook_preprocessor::Preprocessor;
use std::io::{stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Builds and checks the book.
///
/// Without a command it is a preprocessor of mdBook, which gives it a book on stdin and
/// takes it back from stdout: `mdbook build book` works as well.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the book, or says everything that is wrong with it
    Build {
        /// Where to; target/book if not given
        #[arg(long, value_name = "DIR")]
        dest: Option<PathBuf>,
        /// Build although captured runs are older than the code: they show a banner
        #[arg(long)]
        allow_stale: bool,
    },
    /// Shows the book in a browser, and builds it again when something changes
    Serve {
        /// At http://localhost:PORT
        #[arg(long, default_value_t = 3000)]
        port: u16,
        /// Where to; target/book if not given
        #[arg(long, value_name = "DIR")]
        dest: Option<PathBuf>,
    },
    /// Runs the programs whose output the book shows
    Capture(runs::CaptureArgs),
    /// Proves that stubs fail, solutions pass, and the book introduces each exercise
    CheckExercises {
        /// Of these chapters; of all if none is given
        #[arg(value_name = "CHAPTER")]
        chapters: Vec<String>,
        /// How long one check may take
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        limit: u64,
    },
    /// Shows which exercises are solved, and which is next
    Progress {
        /// Of these chapters; of all if none is given
        #[arg(value_name = "CHAPTER")]
        chapters: Vec<String>,
        /// Show the hint of the next one
        #[arg(long)]
        hint: bool,
    },
    /// Asked by mdBook: whether a renderer is supported
    #[command(hide = true)]
    Supports {
        /// Its name.
        renderer: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let Some(command) = arguments.command else { return preprocess() };
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Build { dest, allow_stale } => {
            let stale = if allow_stale { Stale::Show } else { Stale::Refuse };
            let folder = book::build(&workspace()?, dest.as_deref(), stale)?;
            println!("the book is in {}", folder.join("index.html").display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve { port, dest } => {
            let address = format!("localhost:{port}");
            serve::serve(&workspace()?, dest.as_deref(), &address).map(done)
        }
        Command::Capture(arguments) => {
            runs::main_capture(&workspace()?, &arguments).map(done)
        }
        Command::CheckExercises { chapters, limit } => {
            let limit = Duration::from_secs(limit);
            let runner = Runner { limit, ..Runner::default() };
            let checked = exercises::check(&workspace()?, &chapters, &runner)?;
            print!("{checked}");
            Ok(if checked.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Progress { chapters, hint } => {
            let runner = Runner::default();
            let progress = exercises::progress(&workspace()?, &chapters, &runner)?;
            print!("{}", progress.show(exercises::wants_color(), hint));
            Ok(ExitCode::SUCCESS)
        }
        Command::Supports { renderer } => Ok(match renderer.as_str() {
            "html" => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }),
    }
}

/// The nearest folder, from here upwards, that has a book and chapters.
fn workspace() -> Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let is_root = |folder: &&Path| {
        folder.join("book/src").is_dir() && folder.join("chapters").is_dir()
    };
    here.ancestors().find(is_root).map(Path::to_path_buf).with_context(|| {
        format!(
            "no book/src and chapters in {} or above: go there first",
            here.display()
        )
    })
}

/// As mdBook calls a preprocessor.
fn preprocess() -> Result<ExitCode> {
    let (context, book) = mdbook_preprocessor::parse_input(stdin())
        .context("without a command, a book is expected on stdin; see --help")?;
    let table = context.config.get::<String>(&format!("preprocessor.{NAME}.stale"))?;
    let stale = match table.as_deref() {
        Some("show") => Stale::Show,
        None | Some("refuse") => Stale::Refuse,
        Some(other) => {
            bail!("book.toml: stale = \"{other}\": expected \"refuse\" or \"show\"")
        }
    };
    let book = BookTool::new(stale).run(&context, book)?;
    serde_json::to_writer(stdout(), &book)?;
    Ok(ExitCode::SUCCESS)
}

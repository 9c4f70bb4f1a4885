//! The program as its users meet it: mdBook's preprocessor, the server, wrong flags.
mod common;

use common::workspace;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_book-tool"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr)
}

/// What mdBook writes to a preprocessor: a context, and the book.
fn book(root: &Path, page: &str) -> String {
    let chapter = serde_json::json!({
        "Chapter": {
            "name": "Front", "content": page, "number": null, "sub_items": [],
            "path": "index.md", "source_path": "index.md", "parent_names": [],
        }
    });
    let context = serde_json::json!({
        "root": root.join("book"),
        "config": { "book": { "title": "Fixture", "src": "src" } },
        "renderer": "html",
        "mdbook_version": "0.5.4",
    });
    serde_json::json!([context, { "items": [chapter] }]).to_string()
}

fn preprocess(root: &Path, page: &str) -> Output {
    preprocess_input(root, &book(root, page))
}

fn preprocess_input(root: &Path, input: &str) -> Output {
    let mut child = program(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn mdbook_can_call_it_as_a_preprocessor() {
    let folder = workspace();
    fs::remove_file(folder.path().join("book/src/more/second.md")).unwrap();
    let output = preprocess(folder.path(), "# Front\n\n{{#step ch02}}\n");
    assert!(output.status.success(), "{}", said(&output));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = made["items"][0]["Chapter"]["content"].as_str().unwrap();
    assert!(page.contains("<td><code>wide.rs</code></td><td>new</td>"), "{page}");

    let output = preprocess(folder.path(), "# Front\n\n{{#step ch09}}\n");
    assert!(!output.status.success());
    assert!(
        said(&output).contains("book/src/index.md:3: no chapter"),
        "{}",
        said(&output)
    );

    fs::write(folder.path().join("book/src/lost.md"), "# Lost\n").unwrap();
    let output = preprocess(folder.path(), "# Front\n");
    assert!(said(&output).contains("book/src/lost.md:1: not in SUMMARY.md"));

    fs::remove_file(folder.path().join("book/src/lost.md")).unwrap();

    // The folder may be named in roundabout ways.
    let input = book(folder.path(), "# Front\n").replace("/book\"", "/book/src/..\"");
    let output = preprocess_input(folder.path(), &input);
    assert!(output.status.success(), "{}", said(&output));

    let supports = |renderer: &str| {
        program(folder.path()).args(["supports", renderer]).status().unwrap().success()
    };
    assert!(supports("html") && !supports("epub"));
}

#[test]
fn stale_runs_are_refused_or_shown() {
    let folder = workspace();
    let root = folder.path();
    fs::remove_file(root.join("book/src/more/second.md")).unwrap();
    let summary = "# Summary\n\n[Front](index.md)\n";
    fs::write(root.join("book/src/SUMMARY.md"), summary).unwrap();
    fs::write(root.join("book/src/index.md"), "# Front\n").unwrap();
    fs::create_dir_all(root.join("book/runs")).unwrap();
    let run = "[quick]\nclass = \"checked\"\ncommand = [\"true\"]\n\
               files = [\"Cargo.toml\"]\n";
    fs::write(root.join("book/runs/test.toml"), run).unwrap();
    let with = |stale: &str| {
        let table = format!("\"preprocessor\":{{\"book-tool\":{stale}}},\"book\":{{");
        let input = book(root, "# Front\n").replacen("\"book\":{", &table, 1);
        preprocess_input(root, &input)
    };
    let build = |arguments: &[&str]| program(root).args(arguments).output().unwrap();
    let refused = "book/runs/test.toml:1: the checked run `quick` has no capture yet";
    for output in [with("{}"), with(r#"{"stale":"refuse"}"#), build(&["build"])] {
        assert!(!output.status.success());
        assert!(said(&output).contains(refused), "{}", said(&output));
    }
    for output in [with(r#"{"stale":"show"}"#), build(&["build", "--allow-stale"])] {
        assert!(output.status.success(), "{}", said(&output));
    }
    let output = with(r#"{"stale":"shwo"}"#);
    assert!(said(&output).contains("stale = \"shwo\": expected"), "{}", said(&output));
}

#[test]
fn a_build_says_where_the_book_is() {
    let folder = workspace();
    let chapters = folder.path().join("chapters/ch01_base");
    // From any folder below the root.
    let output = program(&chapters).args(["build", "--dest", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let index = chapters.join("out/index.html");
    assert!(index.is_file());
    assert!(said(&output).contains("out/index.html"), "{}", said(&output));
    let output = program(&chapters).arg("build").output().unwrap();
    let index = folder.path().canonicalize().unwrap().join("target/book/index.html");
    assert!(said(&output).contains(&*index.to_string_lossy()), "{}", said(&output));
}

#[test]
fn users_mistakes_are_named() {
    let nowhere = TempDir::new().unwrap();
    let output = program(nowhere.path()).arg("build").output().unwrap();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("no book/src and chapters in "),
        "{}",
        said(&output)
    );
    fs::create_dir_all(nowhere.path().join("book/src")).unwrap();
    let output = program(nowhere.path()).arg("build").output().unwrap();
    assert!(said(&output).contains("no book/src and chapters"), "{}", said(&output));

    let folder = workspace();
    let output = program(folder.path()).args(["build", "--des", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--dest"), "{}", said(&output));

    // Nothing on stdin is no book.
    let output = program(folder.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("a book is expected on stdin"), "{}", said(&output));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output =
        program(folder.path()).args(["serve", "--port", &port]).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("try another --port"), "{}", said(&output));
}

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Server {
    fn start(root: &Path) -> Server {
        let mut child = program(root)
            .args(["serve", "--port", "0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("{line}"));
        let address =
            address.split(';').next().unwrap().trim_end_matches('/').to_string();
        Server { child, address, stderr }
    }
    fn get(&self, path: &str) -> String {
        self.ask("GET", path)
    }
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
    /// Without headers.
    fn body(&self, path: &str) -> String {
        self.get(path).split_once("\r\n\r\n").unwrap().1.into()
    }
    /// Waits until a page says something.
    fn until(&self, path: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.get(path).contains(text) {
            assert!(Instant::now() < deadline, "no `{text}` in {}", self.get(path));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server_follows_the_code() {
    let folder = workspace();
    let mut server = Server::start(folder.path());
    let page = server.get("/index.html");
    assert!(page.contains("Content-Type: text/html"), "{page}");
    // It asks for the number of the build, and loads itself anew.
    assert!(page.contains("fetch('/_build')"), "{page}");
    assert!(server.get("/").contains("</html>"));
    assert!(server.get("/%69ndex%2ehtml?x#y").contains("</html>"));
    let build = server.body("/_build");
    assert!(server.get("/lost.html").starts_with("HTTP/1.1 404"));
    // Nothing outside the book.
    assert!(folder.path().join("target/book/../../Cargo.toml").is_file());
    for path in ["/../../Cargo.toml", "/%2e%2e/%2e%2e/Cargo.toml"] {
        assert!(server.get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    let style = page.split("<link rel=\"stylesheet\" href=\"").nth(1).unwrap();
    let style = server.get(&format!("/{}", style.split('"').next().unwrap()));
    assert!(style.contains("Content-Type: text/css"), "{style}");
    assert!(server.ask("POST", "/index.html").starts_with("HTTP/1.1 405"));
    // That a build reads files is no change of them.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(server.body("/_build"), build);

    // A line of code changes the page.
    let wide = folder.path().join("chapters/ch02_wider/src/wide.rs");
    fs::write(&wide, "//! What is wide.\npub struct Wider;\n").unwrap();
    server.until("/index.html", "Wider");
    // The build counts when all its pages are written.
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.body("/_build") == build {
        assert!(Instant::now() < deadline, "still build {build}");
        std::thread::sleep(Duration::from_millis(50));
    }

    // A mistake is told, and the last good page stays.
    let page = folder.path().join("book/src/index.md");
    fs::write(&page, "# Front\n\n{{#step ch09}}\n").unwrap();
    let mut line = String::new();
    while !line.contains("index.md:3: no chapter `ch09`") {
        line.clear();
        assert!(server.stderr.read_line(&mut line).unwrap() > 0);
    }
    assert!(server.get("/index.html").contains("Wider"));
    fs::write(&page, "# Front\n\nMended.\n").unwrap();
    server.until("/index.html", "Mended.");
}

//! The book in a browser, rebuilt whenever something it is made of changes.
use crate::book::{Stale, build};
use crate::html::decoded;
use anyhow::{Context, Result, anyhow};
use notify::{RecursiveMode, Watcher};
use std::fs::File;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

/// What the book is made of.
const WATCHED: [&str; 9] = [
    "book/src",
    "book/runs",
    "book/theme",
    "book/book.toml",
    "chapters",
    "shared",
    "tests",
    "data",
    "scripts",
];

/// Changes that come within this time are one.
const QUIET: Duration = Duration::from_millis(200);

/// Appended to every page: asks which build this is, and loads the next.
const RELOAD: &str = "<script>(() => { let build; setInterval(async () => { try {
const now = await (await fetch('/_build')).text();
if (build && build !== now) location.reload(); build = now; } catch {} }, 1000); })();
</script>";

/// Builds into `dest` and serves it at `address` until it is stopped. A page that
/// cannot be built leaves the last one that could; what is wrong is printed.
///
/// # Errors
/// The address is taken, or the first build fails.
pub fn serve(root: &Path, dest: Option<&Path>, address: &str) -> Result<()> {
    let server = Server::http(address)
        .map_err(|e| anyhow!("cannot listen at {address}: {e}; try another --port"))?;
    let (send, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event| {
        let _ = send.send(event);
    })?;
    for path in WATCHED.map(|path| root.join(path)) {
        if path.exists() {
            watcher
                .watch(&path, RecursiveMode::Recursive)
                .with_context(|| format!("cannot watch {}", path.display()))?;
        }
    }
    let folder = build(root, dest, Stale::Show)?;
    // Port 0 is any that is free.
    let port = server.server_addr().to_ip().map_or(0, |address| address.port());
    eprintln!("The book is at http://localhost:{port}/; Ctrl-C ends this.");
    let builds = Arc::new(AtomicU64::new(1));
    let count = builds.clone();
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            // A reader who is gone needs no answer.
            let _ = answer(request, &folder, count.load(Ordering::Relaxed));
        }
    });
    while wait(&changes) {
        match build(root, dest, Stale::Show) {
            Ok(_) => {
                eprintln!("Built again.");
                builds.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => eprintln!("error: {error:#}"),
        }
    }
    Ok(())
}

/// Until something changed and nothing more did for a while; false if nothing ever can.
fn wait(changes: &Receiver<notify::Result<notify::Event>>) -> bool {
    loop {
        match changes.recv() {
            Err(_) => return false,
            // Reading a file is an event too.
            Ok(Ok(event)) if event.kind.is_access() => {}
            Ok(_) => break,
        }
    }
    while changes.recv_timeout(QUIET).is_ok() {}
    true
}

fn answer(request: Request, folder: &Path, build: u64) -> Result<()> {
    let url = request.url().split(['?', '#']).next().unwrap_or_default().to_string();
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Ok(request.respond(Response::empty(StatusCode(405)))?);
    }
    if url == "/_build" {
        return Ok(request.respond(Response::from_string(build.to_string()))?);
    }
    let Some(path) = file_of(folder, &url) else {
        let response = Response::from_string("There is no such page.");
        return Ok(request.respond(response.with_status_code(404))?);
    };
    let kind = content_type(&path);
    let header = Header::from_bytes("Content-Type", kind)
        .map_err(|()| anyhow!("{kind} is no header"))?;
    if kind.starts_with("text/html") {
        let mut page = std::fs::read(&path)?;
        page.extend_from_slice(RELOAD.as_bytes());
        let len = page.len();
        let response = Response::new(
            StatusCode(200),
            vec![header],
            Cursor::new(page),
            Some(len),
            None,
        );
        return Ok(request.respond(response)?);
    }
    Ok(request.respond(Response::from_file(File::open(&path)?).with_header(header))?)
}

/// The file that a URL names, inside `folder` and nowhere else.
fn file_of(folder: &Path, url: &str) -> Option<PathBuf> {
    let url = decoded(url);
    let below = Path::new(url.trim_start_matches('/'));
    if !below.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let path = folder.join(below);
    let path = if path.is_dir() { path.join("index.html") } else { path };
    path.is_file().then_some(path)
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

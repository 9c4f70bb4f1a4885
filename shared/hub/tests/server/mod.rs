//! As much of the hub as hf-hub asks for, on loopback, with accidents on request.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;

/// The only commit there is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves one set of files under most names; `org/gated` wants the token `right`,
/// `org/busy` is out of order, `org/unknown` and the revision `nope` do not exist.
pub struct Server {
    /// Its address.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<(String, Vec<u8>)>,
    /// Paths of the requests, with their ranges.
    log: Vec<String>,
    /// A file that is listed and not there.
    lost: String,
    /// The file whose body ends after so many bytes.
    cut: (String, usize),
    /// Paths that contain this get no answer.
    stalled: String,
    /// Whether bodies come in eight pieces with pauses between.
    dripping: bool,
    without_length: bool,
    ignore_ranges: bool,
    closed: bool,
}

impl Server {
    pub fn start(files: Vec<(String, Vec<u8>)>) -> Self {
        let state = State { files, ..State::default() };
        Self::serve(state, |stream, state| answer(stream, &state))
    }

    /// Gives every request the same answer.
    pub fn nonsense(answer: &'static str) -> Self {
        Self::serve(State::default(), move |mut stream, _| {
            read_request(&stream)?;
            stream.write_all(answer.as_bytes())
        })
    }

    fn serve<H>(state: State, handle: H) -> Self
    where
        H: Fn(TcpStream, Arc<Mutex<State>>) -> Result<()> + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.lock().unwrap().closed {
                    return;
                }
                let (handle, shared) = (handle.clone(), shared.clone());
                // A client that hangs up early is its own business.
                thread::spawn(move || handle(stream, shared).unwrap_or(()));
            }
        });
        Self { url, state }
    }

    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().log.len()
    }

    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    pub fn saw(&self, part: &str) -> bool {
        self.log().iter().any(|request| request.contains(part))
    }

    pub fn forget(&self) {
        self.state.lock().unwrap().log.clear();
    }

    pub fn lose(&self, file: &str) {
        self.state.lock().unwrap().lost = file.into();
    }

    pub fn cut(&self, file: &str, after: usize) {
        self.state.lock().unwrap().cut = (file.into(), after);
    }

    pub fn stall(&self, part: &str) {
        self.state.lock().unwrap().stalled = part.into();
    }

    pub fn drip(&self) {
        self.state.lock().unwrap().dripping = true;
    }

    pub fn without_length(&self) {
        self.state.lock().unwrap().without_length = true;
    }

    pub fn ignore_ranges(&self) {
        self.state.lock().unwrap().ignore_ranges = true;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.lock().unwrap().closed = true;
        // Wakes the listener, so that it sees this and lets go of the port.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

#[derive(Default)]
struct Request {
    path: String,
    range: String,
    token: String,
}

fn read_request(stream: &TcpStream) -> Result<Request> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let mut request = Request { path, ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "range" => request.range = value.to_string(),
            "authorization" => request.token = value.to_string(),
            _ => {}
        }
    }
    Ok(request)
}

/// One request, one answer, then the connection is closed.
fn answer(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    let Request { path, range, token } = read_request(&stream)?;
    let mut state = state.lock().unwrap();
    state.log.push(format!("{path} {range}"));

    // A request for the first byte only asks for the metadata: accidents come later.
    let metadata = range == "bytes=0-0";
    if !state.stalled.is_empty() && path.contains(&state.stalled) && !metadata {
        drop(state);
        thread::sleep(Duration::from_secs(2));
        return Ok(());
    }
    let mut refuse = |status| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    if path.contains("/busy") {
        return refuse("503 Service Unavailable");
    }
    if path.contains("/gated") && token != "Bearer right" {
        return refuse("401 Unauthorized");
    }
    if path.contains("/unknown") || path.contains("/nope") {
        return refuse("404 Not Found");
    }
    if path.starts_with("/api/models/") {
        let names = state.files.iter().map(|(name, _)| json!({ "rfilename": name }));
        let siblings: Vec<_> = names.collect();
        let body = json!({ "siblings": siblings, "sha": COMMIT }).to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}");
        return write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}");
    }
    let file = path.split(&format!("/resolve/{COMMIT}/")).nth(1).unwrap_or_default();
    let found = state.files.iter().find(|(name, _)| name == file && file != state.lost);
    let Some((_, bytes)) = found else {
        return refuse("404 Not Found");
    };
    let size = bytes.len();
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let from: usize =
        if state.ignore_ranges && !metadata { 0 } else { from.parse().unwrap() };
    let mut to = to.parse::<usize>().map_or(size, |last| last + 1);
    if from >= to {
        return refuse("416 Range Not Satisfiable");
    }
    let length = match state.without_length && !metadata {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", to - from),
    };
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\n{length}ETag: \"{file}-1\"\r\n\
         X-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{size}\r\n\
         Connection: close\r\n\r\n",
        to - 1
    )?;
    if state.cut.0 == file && !metadata {
        to = to.min(from + state.cut.1);
    }
    if state.dripping && !metadata {
        for piece in bytes[from..to].chunks((to - from).div_ceil(8)) {
            thread::sleep(Duration::from_millis(200));
            stream.write_all(piece)?;
        }
        return Ok(());
    }
    stream.write_all(&bytes[from..to])
}

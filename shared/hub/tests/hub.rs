//! The hub, played by a small server on loopback: cache, offline, refusals, accidents.

mod common;
mod server;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{message, says, tiny, write_values};
use hub::{Dtype, Family, Hub, Save};
use server::{COMMIT, Server};

/// Our own settings, in a cache of their own.
fn hub(server: &str, cache: &Path) -> Hub {
    Hub {
        endpoint: server.to_string(),
        cache: cache.join("hub"),
        token: None,
        offline: false,
        progress: false,
        patience: Duration::from_secs(20),
    }
}

/// A model's files by name.
fn model(shard_bytes: u64) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny(Family::Qwen3);
    Save::new(dir.path(), Dtype::F32)
        .max_shard_bytes(shard_bytes)
        .write(&config, &config.tensors(), write_values)
        .unwrap();
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect();
    files.push(("tokenizer.json".into(), b"{}".to_vec()));
    files.push(("tokenizer_config.json".into(), b"{ }".to_vec()));
    files.push(("README.md".into(), b"not wanted".to_vec()));
    files.push(("pytorch_model.bin".into(), b"not wanted either".to_vec()));
    files.sort();
    files
}

#[test]
fn fetched_once_then_cached() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    let mut hub = hub(&server.url, cache.path());
    let folder = hub.fetch("org/name", "main").unwrap();
    assert_eq!(folder.config().unwrap(), tiny(Family::Qwen3));
    let names = tiny(Family::Qwen3).tensors().len();
    assert_eq!(folder.weights().unwrap().names().count(), names);
    assert!(folder.tokenizer().is_some());
    assert!(folder.path().ends_with(format!("snapshots/{COMMIT}")));
    let mut held: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    held.sort();
    let expected =
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(held, expected);

    // From then on nothing is asked: with the server, without it, and offline.
    let requests = server.requests();
    assert!(requests > 4);
    assert_eq!(hub.fetch("org/name", "main").unwrap().path(), folder.path());
    assert_eq!(server.requests(), requests);
    drop(server);
    hub.fetch("org/name", "main").unwrap();
    hub.offline = true;
    hub.fetch("org/name", "main").unwrap();
    hub.fetch("org/name", COMMIT).unwrap();
    let error = message(hub.fetch("org/name", "v2"));
    says(
        &error,
        &["org/name@v2 is not, or not wholly, in the cache", "HF_HUB_OFFLINE"],
    );
    let error = message(hub.fetch("org/other", "main"));
    says(&error, &["org/other@main is not", "nor is there a folder of that name"]);
}

#[test]
fn shards_and_revisions() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(1000));
    let hub = hub(&server.url, cache.path());
    let folder = hub.fetch("org/name", "a/branch").unwrap();
    assert!(folder.weights().unwrap().names().count() > 3);
    assert!(server.saw("/api/models/org/name/revision/a%2Fbranch"));
    assert!(!server.saw("README"));
    assert!(!server.saw("pytorch_model"));
    assert!(!server.saw("special_tokens_map"));

    // A shard that is gone from the cache is fetched again, and nothing else.
    let shards = |path: &Path| -> Vec<_> {
        let mut shards: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().contains("-of-"))
            .collect();
        shards.sort();
        shards
    };
    let second = shards(folder.path())[1].clone();
    fs::remove_file(fs::canonicalize(&second).unwrap()).unwrap();
    fs::remove_file(&second).unwrap();
    server.forget();
    hub.fetch("org/name", "a/branch").unwrap().weights().unwrap();
    assert!(server.saw("model-00002-of"));
    assert!(!server.saw("model-00001-of"));
}

#[test]
fn refusals() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    let mut hub = hub(&server.url, cache.path());
    let error = message(hub.fetch("org/unknown", "main"));
    says(&error, &["org/unknown (no folder here", "has no model org/unknown"]);
    says(&message(hub.fetch("org/name", "nope")), &["no revision nope"]);
    says(&message(hub.fetch("org/gated", "main")), &["refuses access", "set HF_TOKEN"]);
    hub.token = Some("wrong".into());
    says(&message(hub.fetch("org/gated", "main")), &["your token does not open it"]);
    hub.token = Some("right".into());
    hub.fetch("org/gated", "main").unwrap().weights().unwrap();
    says(
        &message(hub.fetch("org/busy", "main")),
        &["cannot serve org/busy now", "503"],
    );

    let bare = Server::start(vec![("weights.bin".into(), vec![1])]);
    hub.endpoint = bare.url.clone();
    let error = message(hub.fetch("org/name", "main"));
    says(&error, &["it has no config.json", "it holds weights.bin"]);

    let mut files = model(1000);
    files.retain(|(name, _)| !name.starts_with("model-00002"));
    let torn = Server::start(files);
    hub.endpoint = torn.url.clone();
    says(
        &message(hub.fetch("org/torn", "main")),
        &["the shard model-00002-of", "hold"],
    );
}

/// The file list promises what is not there.
#[test]
fn missing_file() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    server.lose("model.safetensors");
    let hub = hub(&server.url, cache.path());
    let error = message(hub.fetch("org/name", "main"));
    says(&error, &["has no file model.safetensors"]);
    server.lose("");
    hub.fetch("org/name", "main").unwrap().weights().unwrap();
}

#[test]
fn nobody_listens() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&format!("http://127.0.0.1:{port}"), cache.path());
    let start = Instant::now();
    let error = message(hub.fetch("org/name", "main"));
    says(&error, &["cannot be reached", "refused", "check the network"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// A connection that breaks in the middle: an error now, the rest on the next try.
#[test]
fn cut_short_and_resumed() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    let hub = hub(&server.url, cache.path());
    server.cut("model.safetensors", 700);
    let error = message(hub.fetch("org/name", "main"));
    says(&error, &["the download of model.safetensors", "broke off", "try again"]);
    server.cut("", 0);
    server.forget();
    let folder = hub.fetch("org/name", "main").unwrap();
    assert!(server.saw("model.safetensors bytes=700-"), "{:?}", server.log());
    let expected = &model(u64::MAX)
        .into_iter()
        .find(|(name, _)| name == "model.safetensors")
        .unwrap()
        .1;
    assert!(&fs::read(folder.path().join("model.safetensors")).unwrap() == expected);
}

/// A proxy that closes early without saying how long the body is, and one that answers
/// the request for the rest with the whole: the lengths give both away.
#[test]
fn wrong_lengths() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    let hub = hub(&server.url, cache.path());
    server.without_length();
    server.cut("model.safetensors", 700);
    let error = message(hub.fetch("org/name", "main"));
    says(&error, &["model.safetensors has", "on the hub, but 700 arrived"]);
    server.cut("", 0);
    hub.fetch("org/name", "main").unwrap().weights().unwrap();

    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    let hub = self::hub(&server.url, cache.path());
    server.cut("model.safetensors", 700);
    message(hub.fetch("org/name", "main"));
    server.cut("", 0);
    server.ignore_ranges();
    says(&message(hub.fetch("org/name", "main")), &["arrived; try again"]);
    hub.fetch("org/name", "main").unwrap().weights().unwrap();
}

/// A server that accepts and says nothing.
#[test]
fn patience_ends() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(model(u64::MAX));
    let mut hub = hub(&server.url, cache.path());
    hub.patience = Duration::from_millis(300);
    server.stall("/api/models");
    let start = Instant::now();
    says(
        &message(hub.fetch("org/name", "main")),
        &["has sent nothing for", "try again"],
    );
    server.stall("model.safetensors");
    says(&message(hub.fetch("org/name", "main")), &["has sent nothing for", "kept"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// Slow is not dead: a download may take longer than patience if something arrives.
#[test]
fn patience_lasts() {
    let cache = tempfile::tempdir().unwrap();
    let files = model(u64::MAX).into_iter();
    let server = Server::start(files.filter(|(n, _)| !n.starts_with("tok")).collect());
    let mut hub = hub(&server.url, cache.path());
    hub.patience = Duration::from_millis(1000);
    server.drip();
    let start = Instant::now();
    hub.fetch("org/name", "main").unwrap().weights().unwrap();
    assert!(start.elapsed() > Duration::from_millis(2400));
}

/// Answers that make no sense, some of which make hf-hub panic.
#[test]
fn nonsense() {
    let cache = tempfile::tempdir().unwrap();
    let hub = |body: &'static str| {
        let server = Server::nonsense(body);
        let result = self::hub(&server.url, cache.path()).fetch("org/name", "main");
        let error = message(result);
        says(&error, &["org/name (no folder here", "could not be fetched"]);
        error
    };
    let error = hub("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnot json");
    says(&error, &["gave an answer for org/name that makes no sense"]);
    hub("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    hub("hello");
    hub("");
    let error = hub("HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n\
         {\"siblings\": [], \"sha\": \"../../../../etc/cron\"}");
    says(&error, &["at commit \"../../../../etc/cron\"; 40 hexadecimal digits"]);
}

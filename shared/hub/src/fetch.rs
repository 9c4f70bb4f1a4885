//! Fetching a repository of the hub into the cache that all Hugging Face tools share.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::environment::Hub;
use crate::folder::Folder;
use crate::watch;
use crate::weights::{INDEX, SINGLE, read_index};

/// What is fetched beside the weights, where the repository has it.
const SMALL_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

impl Hub {
    /// The folder of `id` (`org/name`) at `revision` (a branch, tag or commit): from
    /// the cache if it is there whole, without a request; otherwise downloaded.
    ///
    /// # Errors
    /// An unknown, gated or private repository, a file missing from it, a hub that
    /// cannot be reached or makes no progress, a download that broke off, a cache that
    /// cannot be written to: each in words, with what to do.
    pub fn fetch(&self, id: &str, revision: &str) -> Result<Folder> {
        if let Some(snapshot) = self.snapshot(id, revision)
            && is_whole(&snapshot)
        {
            return Ok(Folder::at(snapshot));
        }
        ensure!(
            !self.offline,
            "{id}@{revision} is not, or not wholly, in the cache {} (nor is there a \
             folder of that name here), and HF_HUB_OFFLINE forbids to download it; \
             unset it, or fetch the model where there is a network",
            self.cache.display()
        );
        self.download(id, revision).with_context(|| {
            format!("{id} (no folder here, so a model on the hub) could not be fetched")
        })
    }

    /// The cached snapshot of a revision, whole or not.
    fn snapshot(&self, id: &str, revision: &str) -> Option<PathBuf> {
        let repo = self.cache.join(repo(id, revision).folder_name());
        let commit = match is_commit(revision) {
            true => revision.to_string(),
            false => fs::read_to_string(repo.join("refs").join(revision)).ok()?,
        };
        let commit = commit.trim();
        is_commit(commit).then(|| repo.join("snapshots").join(commit))
    }

    fn download(&self, id: &str, revision: &str) -> Result<Folder> {
        let cache = Cache::new(self.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_progress(false) // the bars are drawn by `Watch`
            .build()
            .map_err(|error| anyhow!("{error}"))?;

        let asked = api.repo(repo(id, revision));
        let info =
            watch::attended(&self.endpoint, self.patience, move |_| asked.info())?
                .map_err(|error| self.explain(id, revision, None, error))?;
        ensure!(
            is_commit(&info.sha),
            "{} answers that {id} is at commit {:?}; 40 hexadecimal digits are \
             expected",
            self.endpoint,
            info.sha
        );
        // All files from one commit, even if someone pushes meanwhile.
        let commit = info.sha;
        let held: BTreeSet<String> =
            info.siblings.into_iter().map(|file| file.rfilename).collect();
        ensure!(
            held.contains("config.json"),
            "it has no config.json, so it is no model in Hugging Face form; it holds \
             {}",
            first_names(&held)
        );
        let get = |file: &str| self.file(&api, id, &commit, file);
        let mut config = PathBuf::new();
        for file in SMALL_FILES.iter().rev().filter(|&&file| held.contains(file)) {
            config = get(file)?;
        }
        // Weights last: a snapshot that has them is whole.
        if held.contains(SINGLE) {
            get(SINGLE)?;
        } else if held.contains(INDEX) {
            let index = read_index(&get(INDEX)?)?;
            let shards: BTreeSet<String> = index.into_values().collect();
            for (i, shard) in shards.iter().enumerate() {
                ensure!(
                    held.contains(shard),
                    "its index names the shard {shard}, which it does not hold"
                );
                get(shard)
                    .with_context(|| format!("shard {} of {}", i + 1, shards.len()))?;
            }
        }
        cache
            .repo(repo(id, revision))
            .create_ref(&commit)
            .with_context(|| format!("cannot write to {}", self.cache.display()))?;
        config.pop();
        Ok(Folder::at(config))
    }

    /// One file of a commit, from the cache or the hub, its length checked.
    fn file(&self, api: &Api, id: &str, commit: &str, file: &str) -> Result<PathBuf> {
        let (path, expected) = loop {
            if let Some(path) =
                self.snapshot(id, commit).map(|folder| folder.join(file))
                && path.exists()
            {
                return Ok(path);
            }
            let repo: ApiRepo = api.repo(repo(id, commit));
            let (name, progress) = (file.to_string(), self.progress);
            let arrived =
                watch::attended(&self.endpoint, self.patience, move |watch| {
                    let watch = watch.of_file(progress);
                    let path = repo.download_with_progress(&name, watch.clone());
                    path.map(|path| (path, watch.state().expected))
                })?;
            match arrived {
                // Another process is downloading it, such as another rank of this run;
                // if that ends, so does its lock. hf-hub has waited for 5 seconds.
                Err(ApiError::LockAcquisition(_)) => {}
                arrived => {
                    let explain = |error| self.explain(id, commit, Some(file), error);
                    break arrived.map_err(explain)?;
                }
            }
        };
        // hf-hub does not compare lengths: a proxy may end a download early, or answer
        // the request for the second half with the whole.
        let length = fs::metadata(&path)?.len();
        if length != expected {
            for wrong in [fs::canonicalize(&path)?, path] {
                fs::remove_file(wrong)?;
            }
            bail!(
                "{file} has {expected} bytes on the hub, but {length} arrived; try \
                 again"
            );
        }
        Ok(path)
    }

    /// An error of hf-hub's in words.
    fn explain(
        &self,
        id: &str,
        revision: &str,
        file: Option<&str>,
        error: ApiError,
    ) -> anyhow::Error {
        let Self { endpoint, .. } = self;
        let what = match file {
            Some(file) => format!("{file} of {id}"),
            None => id.to_string(),
        };
        let ApiError::RequestError(request) = &error else {
            return match error {
                ApiError::IoError(error) => anyhow!(
                    "the download of {what} broke off: {error}; try again: what has \
                     arrived is kept in {}",
                    self.cache.display()
                ),
                ApiError::InvalidResume => self.bad_part(&what, id),
                error => {
                    anyhow!("{endpoint} gave an unexpected answer for {what}: {error}")
                }
            };
        };
        match &**request {
            ureq::Error::StatusCode(401 | 403) => {
                let advice = match self.token {
                    Some(_) => "your token does not open it; accept its terms there",
                    None => "if it is gated, accept its terms there and set HF_TOKEN",
                };
                anyhow!(
                    "{endpoint}/{id} refuses access to {what} ({request}): check the \
                     spelling; {advice}"
                )
            }
            ureq::Error::StatusCode(404) => match file {
                Some(file) => {
                    anyhow!("{endpoint}/{id} has no file {file} at {revision}")
                }
                None => anyhow!(
                    "{endpoint} has no model {id}, or it has no revision {revision}: \
                     check the spelling"
                ),
            },
            ureq::Error::StatusCode(416) => self.bad_part(&what, id),
            ureq::Error::StatusCode(_) => {
                anyhow!(
                    "{endpoint} cannot serve {what} now ({request}); try again later"
                )
            }
            ureq::Error::Json(_) | ureq::Error::Protocol(_) | ureq::Error::Http(_) => {
                anyhow!(
                    "{endpoint} gave an answer for {what} that makes no sense \
                     ({request}); is it a hub, or a proxy's login page?"
                )
            }
            request => anyhow!(
                "{endpoint} cannot be reached for {what}: {request}; check the \
                 network, the proxy and HF_ENDPOINT"
            ),
        }
    }

    fn bad_part(&self, what: &str, id: &str) -> anyhow::Error {
        let blobs = self.cache.join(repo(id, "main").folder_name()).join("blobs");
        anyhow!(
            "an earlier download of {what} left a piece that does not fit; remove {} \
             and try again",
            blobs.join("*.part").display()
        )
    }
}

fn repo(id: &str, revision: &str) -> Repo {
    Repo::with_revision(id.to_string(), RepoType::Model, revision.to_string())
}

/// Whether a text is a full commit hash; also what keeps a hub's answer from leading
/// out of the cache.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a snapshot has its configuration and all its weights.
fn is_whole(snapshot: &Path) -> bool {
    let has = |file: &str| snapshot.join(file).is_file();
    let sharded = || {
        let index = read_index(&snapshot.join(INDEX));
        index.is_ok_and(|index| index.values().all(|shard| has(shard)))
    };
    has("config.json") && (has(SINGLE) || has(INDEX) && sharded())
}

fn first_names(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    match names.len() {
        0 => "nothing".to_string(),
        1..=5 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - 5),
    }
}

//! Where the hub and its cache are, as the environment says.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// Where repositories come from and where they are kept.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// The cache: `models--org--name` folders, laid out as Python's huggingface_hub
    /// does.
    pub cache: PathBuf,
    /// What proves that a gated or private repository may be read.
    pub token: Option<String>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// Whether to show a bar for each download.
    pub progress: bool,
    /// How long a request may make no progress before it is given up.
    pub patience: Duration,
}

impl Hub {
    /// As the environment says, in the variables of Python's huggingface_hub:
    /// `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN`
    /// (otherwise the token that `hf auth login` left in `HF_HOME`), `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// No variable and no home folder say where the cache is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var(name).ok(), env::home_dir())
    }

    /// As [`Hub::from_env`], with the environment given.
    pub(crate) fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let caches =
            path("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")));
        let hf_home = path("HF_HOME").or_else(|| Some(caches?.join("huggingface")));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| Some(hf_home.as_ref()?.join("hub")))
            .context("there is no home folder to keep downloads in; set HF_HOME")?;
        let saved_token = || {
            let text = fs::read_to_string(hf_home.as_ref()?.join("token")).ok()?;
            Some(text.trim().to_string()).filter(|token| !token.is_empty())
        };
        let endpoint =
            variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let offline = variable("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
        });
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache,
            token: variable("HF_TOKEN")
                .map(|token| token.trim().to_string())
                .or_else(saved_token),
            offline,
            progress: true,
            patience: Duration::from_secs(60),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Hub {
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name)?;
            Some(found.1.to_string())
        };
        Hub::from_variables(variable, Some("/home/me".into())).unwrap()
    }

    #[test]
    fn environment() {
        let hub = from(&[]);
        assert_eq!(hub.endpoint, "https://huggingface.co");
        assert_eq!(hub.cache, Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!((hub.token, hub.offline), (None, false));
        let hub = from(&[("HF_ENDPOINT", "http://x/"), ("HF_TOKEN", "t")]);
        assert_eq!(
            (hub.endpoint.as_str(), hub.token.as_deref()),
            ("http://x", Some("t"))
        );
        assert_eq!(
            from(&[("XDG_CACHE_HOME", "/x")]).cache,
            Path::new("/x/huggingface/hub")
        );
        let home = ("HF_HOME", "/h");
        assert_eq!(from(&[home, ("XDG_CACHE_HOME", "/x")]).cache, Path::new("/h/hub"));
        assert_eq!(from(&[home, ("HF_HUB_CACHE", "/c")]).cache, Path::new("/c"));
        assert!(from(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(from(&[("HF_HUB_OFFLINE", "TRUE")]).offline);
        assert!(!from(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert!(!from(&[("HF_HUB_OFFLINE", "")]).offline);
        assert!(Hub::from_variables(|_| None, None).is_err());
    }

    #[test]
    fn saved_token() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), "from the file\n").unwrap();
        let home = ("HF_HOME", home.path().to_str().unwrap());
        assert_eq!(from(&[home]).token.as_deref(), Some("from the file"));
        assert_eq!(from(&[home, ("HF_TOKEN", "t\n")]).token.as_deref(), Some("t"));
    }
}

//! The tokenizer's files, which travel with a model unchanged.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::temporary::Temporary;

/// What a tokenizer may consist of.
const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
];

/// Copies a tokenizer into a model's folder: the files of one that are in the folder
/// `from` (or beside `from`, a `tokenizer.json`), or `from` itself as `tokenizer.json`.
/// Where there is no `tokenizer_config.json`, one is written that makes transformers
/// take `tokenizer.json` as it is; without it the model type's own tokenizer class may
/// rebuild it differently.
///
/// # Errors
/// `from` is not there or holds none; files that cannot be read or written.
pub fn copy_tokenizer(from: &Path, to: &Path) -> Result<()> {
    // A bare `tokenizer.json` has an empty parent, which is no folder to the system.
    let beside =
        from.parent().filter(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let alone = !(from.is_file() && from.ends_with("tokenizer.json"));
    let from = if alone { from } else { beside };
    let file = |name: &str| (from.join(name), to.join(name));
    let mut copies: Vec<(PathBuf, PathBuf)> = match from.is_dir() {
        true => TOKENIZER_FILES.map(file).into(),
        false => vec![(from.to_owned(), to.join("tokenizer.json"))],
    };
    copies.retain(|(from, _)| from.is_file());
    ensure!(!copies.is_empty(), "no tokenizer to copy: {} has none", from.display());

    for (from, to) in &copies {
        let bytes = fs::read(from)
            .with_context(|| format!("cannot read {}", from.display()))?;
        let mut copy = Temporary::create(to)?;
        copy.write(&bytes)?;
        copy.publish()?;
    }
    let config = to.join("tokenizer_config.json");
    if to.join("tokenizer.json").is_file() && !config.is_file() {
        let mut file = Temporary::create(&config)?;
        file.write(b"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}\n")?;
        file.publish()?;
    }
    Ok(())
}

//! Training a tokenizer: text to words, words to merges, merges to `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use serde_json::json;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::tokenizer::{END, HuggingFace, Tokenizer, parse};
use crate::{bpe, tokenize};

impl Tokenizer {
    /// Trains a byte-level BPE tokenizer on text files (plain or `.jsonl`).
    ///
    /// Words are cut as in GPT-2. Id 0 is `<|endoftext|>`, then come the 256 bytes,
    /// then the merges. The result depends on the text and `vocab_size` alone, not on
    /// `workers` (threads; 0 for one per core). It is smaller than `vocab_size` if the
    /// text has too few pairs that occur twice: ask [`Tokenizer::vocab_size`].
    ///
    /// # Errors
    /// If `vocab_size` is below 257, or a file cannot be read or has no text.
    pub fn train(
        files: &[PathBuf],
        vocab_size: usize,
        workers: usize,
        quiet: bool,
    ) -> Result<Tokenizer> {
        if vocab_size < 257 {
            bail!(
                "a byte-level tokenizer of {vocab_size} tokens was asked for; it needs \
                 at least 257: the 256 bytes and `{END}`"
            );
        }
        let words = tokenize::count_words(files, workers, quiet, &words_of)?;

        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let vocabulary =
            [END.into()].into_iter().chain(alphabet.into_iter().map(String::from));
        let result = bpe::train(&words, vocabulary.collect(), vocab_size);

        let vocabulary: BTreeMap<&str, usize> = result
            .vocabulary
            .iter()
            .enumerate()
            .map(|(i, s)| (s.as_str(), i))
            .collect();
        let byte_level = json!({
            "type": "ByteLevel",
            "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        });
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{
                "id": 0, "content": END, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            }],
            "normalizer": null,
            "pre_tokenizer": byte_level,
            "post_processor": null,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary,
                "merges": result.merges,
            },
        });
        // Through the library once, which writes the vocabulary in the order of ids.
        let tokenizer = parse(&json.to_string())?;
        let json = tokenizer.to_string(true).map_err(|e| anyhow!("{e}"))? + "\n";
        Ok(Tokenizer::HuggingFace(Box::new(HuggingFace::new(json, None)?)))
    }
}

/// The words of `text` in the byte-level alphabet, cut as in GPT-2.
fn words_of(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for part in text.split(END) {
        let mut pieces = PreTokenizedString::from(part);
        ByteLevel::new(false, true, true)
            .pre_tokenize(&mut pieces)
            .map_err(|e| anyhow!("cannot cut the text into words: {e}"))?;
        let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        words.extend(pieces.into_iter().map(|(word, _, _)| word.to_string()));
    }
    Ok(words)
}

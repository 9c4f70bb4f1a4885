//! Text to token ids and back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

/// The end-of-document token of the tokenizers trained here, with id 0.
pub(crate) const END: &str = "<|endoftext|>";

/// What families of models call the token that ends a document, most telling first: a
/// chat model also has one that ends a *turn* (`<|im_end|>`), which is not it.
const ENDS: [&str; 9] = [
    END,
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "<|end_of_document|>",
    "<｜end▁of▁sentence｜>",
    "[EOS]",
    "<EOT>",
];

/// The byte that ends a document when tokens are bytes.
const NUL: u8 = 0;

/// What stands for an id that means nothing, where text must be shown.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// Turns text into token ids and back.
#[derive(Clone)]
pub enum Tokenizer {
    /// Each byte of the text is a token: 256 of them, NUL ends a document.
    Bytes,

    /// What a Hugging Face `tokenizer.json` says.
    HuggingFace(Box<HuggingFace>),
}

/// A Hugging Face tokenizer, with the files it was read from.
#[derive(Clone)]
pub struct HuggingFace {
    tokenizer: tokenizers::Tokenizer,

    /// Largest id + 1: ids may have holes, the model's embedding may not.
    vocab_size: usize,

    /// Id and name of the end-of-document token.
    end: (u32, String),

    /// `tokenizer.json` as it was read, to be saved unchanged.
    json: String,

    /// `tokenizer_config.json` from beside it, if there was one.
    config: Option<String>,
}

impl Tokenizer {
    /// The tokenizer that `spec` names: `bytes`, a `tokenizer.json`, or its folder.
    ///
    /// # Errors
    /// If there is no such file, it is not a tokenizer, it has no token that could end
    /// a document, or it tokenizes at random (BPE dropout).
    pub fn open(spec: &str) -> Result<Tokenizer> {
        if spec == "bytes" {
            return Ok(Tokenizer::Bytes);
        }
        let mut path = PathBuf::from(spec);
        if path.is_dir() {
            path.push("tokenizer.json");
        }
        let json = fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read the tokenizer `{}`; expected `bytes`, a tokenizer.json \
                 or a folder holding one",
                path.display()
            )
        })?;
        let config = path.with_file_name("tokenizer_config.json");
        let config = fs::read_to_string(config).ok();
        HuggingFace::new(json, config)
            .map(|inner| Tokenizer::HuggingFace(Box::new(inner)))
            .with_context(|| format!("in the tokenizer `{}`", path.display()))
    }

    /// Number of token ids: all are below it, and an embedding needs that many rows.
    pub fn vocab_size(&self) -> usize {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::HuggingFace(inner) => inner.vocab_size,
        }
    }

    /// The id of the token put after each document.
    pub fn end_of_document(&self) -> u32 {
        match self {
            Tokenizer::Bytes => NUL.into(),
            Tokenizer::HuggingFace(inner) => inner.end.0,
        }
    }

    /// The ids of `text`, with no special tokens added at either end.
    ///
    /// A special token spelled out in the text becomes its id: `<|endoftext|>` in a
    /// plain file separates documents.
    ///
    /// # Errors
    /// For bytes, if the text has a NUL, which would end a document in its middle.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Tokenizer::Bytes => {
                if let Some(offset) = text.bytes().position(|byte| byte == NUL) {
                    bail!(
                        "the text has a NUL at byte offset {offset}, which would end \
                         a document there; remove it or use another tokenizer"
                    );
                }
                Ok(text.bytes().map(u32::from).collect())
            }
            Tokenizer::HuggingFace(inner) => {
                let encoding = inner.tokenizer.encode_fast(text, false);
                let encoding = encoding.map_err(|e| anyhow!("cannot tokenize: {e}"))?;
                Ok(encoding.get_ids().to_vec())
            }
        }
    }

    /// The text of `ids`. Special tokens are spelled out; what is no text (half of a
    /// multi-byte character, an id past the vocabulary) becomes U+FFFD.
    ///
    /// # Errors
    /// If the tokenizer's decoder refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match self {
            Tokenizer::Bytes => {
                let mut text = String::new();
                for run in ids.chunk_by(|a, b| (*a < 256) == (*b < 256)) {
                    if run[0] < 256 {
                        let bytes: Vec<u8> = run.iter().map(|&id| id as u8).collect();
                        text.push_str(&String::from_utf8_lossy(&bytes));
                    } else {
                        text.extend(run.iter().map(|_| UNKNOWN));
                    }
                }
                Ok(text)
            }
            Tokenizer::HuggingFace(inner) => {
                let known = |id: &u32| inner.tokenizer.id_to_token(*id).is_some();
                let mut text = String::new();
                for run in ids.chunk_by(|a, b| known(a) == known(b)) {
                    if known(&run[0]) {
                        let part = inner.tokenizer.decode(run, false);
                        text.push_str(
                            &part.map_err(|e| anyhow!("cannot decode: {e}"))?,
                        );
                    } else {
                        text.extend(run.iter().map(|_| UNKNOWN));
                    }
                }
                Ok(text)
            }
        }
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, where
    /// transformers' `AutoTokenizer` finds them. Bytes need no file; those of another
    /// tokenizer, which would not fit the model beside them, get `.old` behind their
    /// names.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let Tokenizer::HuggingFace(inner) = self else {
            for name in ["tokenizer.json", "tokenizer_config.json"] {
                let path = folder.join(name);
                if path.exists() {
                    let aside = folder.join(format!("{name}.old"));
                    fs::rename(&path, &aside).with_context(|| {
                        format!("cannot move the old `{}` aside", path.display())
                    })?;
                }
            }
            return Ok(());
        };
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            // Whole under another name first: an older file is replaced or stays.
            let partial = folder.join(format!("{name}.partial"));
            let written = fs::write(&partial, content);
            written.and_then(|()| fs::rename(&partial, &path)).with_context(|| {
                format!(
                    "cannot write `{}`; check permissions and space",
                    path.display()
                )
            })
        };
        write("tokenizer.json", &inner.json)?;
        match &inner.config {
            Some(config) => write("tokenizer_config.json", config),
            None => {
                let config = json!({
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "eos_token": inner.end.1,
                    "clean_up_tokenization_spaces": false,
                });
                write("tokenizer_config.json", &format!("{config:#}\n"))
            }
        }
    }
}

impl HuggingFace {
    /// From the text of `tokenizer.json` and of `tokenizer_config.json`.
    pub(crate) fn new(json: String, config: Option<String>) -> Result<HuggingFace> {
        let mut tokenizer = parse(&json)?;
        // Some are saved with a limit on length or with padding: not for a corpus.
        tokenizer.with_truncation(None).map_err(|e| anyhow!("{e}"))?.with_padding(None);

        let value: Value = serde_json::from_str(&json)?;
        if let Some(dropout) = value["model"]["dropout"].as_f64()
            && dropout > 0.0
        {
            bail!(
                "its BPE has dropout {dropout}, so that it tokenizes at random; set \
                 `model.dropout` to null in the file"
            );
        }
        let ids = tokenizer.get_vocab(true).into_values();
        let vocab_size = ids.max().map_or(0, |id| id as usize + 1);
        let end = end_of_document(&tokenizer, config.as_deref())?;
        Ok(HuggingFace { tokenizer, vocab_size, end, json, config })
    }

    /// The name of the token that ends a document, such as `<|endoftext|>`.
    pub fn end_token(&self) -> &str {
        &self.end.1
    }
}

/// The tokenizer that a `tokenizer.json` says.
pub(crate) fn parse(json: &str) -> Result<tokenizers::Tokenizer> {
    tokenizers::Tokenizer::from_bytes(json).map_err(|e| {
        anyhow!(
            "not a Hugging Face tokenizer.json ({e}); save it again with tokenizers"
        )
    })
}

/// The id and name of the token that ends a document.
fn end_of_document(
    tokenizer: &tokenizers::Tokenizer,
    config: Option<&str>,
) -> Result<(u32, String)> {
    let named = ENDS.iter().find_map(|name| {
        tokenizer.token_to_id(name).map(|id| (id, (*name).to_string()))
    });
    let configured = || {
        let config: Value = serde_json::from_str(config?).ok()?;
        let token = &config["eos_token"];
        let name = token.as_str().or(token["content"].as_str())?;
        tokenizer.token_to_id(name).map(|id| (id, name.to_string()))
    };
    named.or_else(configured).with_context(|| {
        format!(
            "it has no token to end a document with: looked for {} and the `eos_token` \
             of tokenizer_config.json; add one of them as a special token",
            ENDS.join(", ")
        )
    })
}

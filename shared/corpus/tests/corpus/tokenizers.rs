//! Tokenizers: opened, saved, trained.

use std::fs;
use std::path::PathBuf;

use corpus::Tokenizer;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

use crate::{Folder, assert_error, data, stories_tokenizer};

fn open(path: PathBuf) -> anyhow::Result<Tokenizer> {
    Tokenizer::open(path.to_str().unwrap())
}

/// The house's tokenizer.json, changed.
fn changed(folder: &Folder, change: impl Fn(&mut Value)) -> PathBuf {
    let text = fs::read_to_string(data().join("tokenizer.json")).unwrap();
    let mut value = serde_json::from_str(&text).unwrap();
    change(&mut value);
    folder.write("tokenizer.json", value.to_string())
}

/// The end-of-document token under another name.
fn renamed(folder: &Folder, name: &str) -> PathBuf {
    changed(folder, |value| {
        value["added_tokens"][0]["content"] = json!(name);
        let vocabulary = value["model"]["vocab"].as_object_mut().unwrap();
        vocabulary.remove("<|endoftext|>");
        vocabulary.insert(name.into(), json!(0));
    })
}

#[test]
fn bytes_are_their_own_tokens() {
    let bytes = Tokenizer::open("bytes").unwrap();
    assert_eq!((bytes.vocab_size(), bytes.end_of_document()), (256, 0));
    let ids = bytes.encode("Öl, 日").unwrap();
    assert_eq!(ids, [0xc3, 0x96, 108, 44, 32, 0xe6, 0x97, 0xa5]);
    assert_eq!(bytes.decode(&ids).unwrap(), "Öl, 日");
    assert_eq!(bytes.decode(&[0xc3, 97, 999, 98]).unwrap(), "\u{fffd}a\u{fffd}b");
    let folder = Folder::new();
    bytes.save(&folder.path("")).unwrap();
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
}

#[test]
fn a_tokenizer_opens_from_a_file_or_its_folder() {
    let text = "Once upon a time, <|endoftext|> wörld!\n";
    let a = open(data()).unwrap();
    let b = open(data().join("tokenizer.json")).unwrap();
    let ids = a.encode(text).unwrap();
    assert_eq!(ids, b.encode(text).unwrap());
    assert_eq!(ids.iter().filter(|&&id| id == a.end_of_document()).count(), 1);
    assert_eq!(a.decode(&ids).unwrap(), text);
    assert_eq!(a.decode(&[2048, 0, 99_999]).unwrap(), "\u{fffd}<|endoftext|>\u{fffd}");
}

#[test]
fn what_is_no_tokenizer_is_named() {
    let folder = Folder::new();
    assert_error(open(folder.path("nope")), &["nope", "bytes", "tokenizer.json"]);
    assert_error(open(folder.path("")), &["tokenizer.json", "cannot read"]);
    let garbage = folder.write("garbage.json", "{\"version\": \"1.0\"");
    assert_error(open(garbage), &["garbage.json", "not a Hugging Face tokenizer"]);
    let other = folder.write("config.json", "{\"hidden_size\": 3}");
    assert_error(open(other), &["config.json", "not a Hugging Face tokenizer"]);
}

#[test]
fn the_end_of_a_document_has_many_names() {
    for name in ["</s>", "<|end_of_text|>", "<eos>"] {
        let folder = Folder::new();
        let tokenizer = open(renamed(&folder, name)).unwrap();
        let Tokenizer::HuggingFace(inner) = &tokenizer else { panic!() };
        assert_eq!((inner.end_token(), tokenizer.end_of_document()), (name, 0));
    }
    let folder = Folder::new();
    let path = renamed(&folder, "<fin>");
    assert_error(
        open(path.clone()),
        &["looked for <|endoftext|>", "</s>", "eos_token"],
    );
    folder.write("tokenizer_config.json", "{\"eos_token\": {\"content\": \"<fin>\"}}");
    assert_eq!(open(path.clone()).unwrap().end_of_document(), 0);
    folder.write("tokenizer_config.json", "{\"eos_token\": \"<fin>\"}");
    assert_eq!(open(path).unwrap().end_of_document(), 0);
}

#[test]
fn a_limit_on_length_and_padding_are_not_for_a_corpus() {
    let folder = Folder::new();
    let path = changed(&folder, |value| {
        value["truncation"] = json!({
            "direction": "Right", "max_length": 5, "strategy": "LongestFirst",
            "stride": 0,
        });
        value["padding"] = json!({
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
        });
    });
    let tokenizer = open(path.clone()).unwrap();
    let text = "a long sentence that has many more than five tokens in it";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
    assert_eq!(
        tokenizer.encode("one").unwrap(),
        stories_tokenizer().encode("one").unwrap()
    );

    // Saved as it was read, settings and all.
    let saved = Folder::new();
    tokenizer.save(&saved.path("")).unwrap();
    let (before, after) = (fs::read(path), fs::read(saved.path("tokenizer.json")));
    assert_eq!(before.unwrap(), after.unwrap());
}

#[test]
fn random_tokenization_is_refused() {
    let folder = Folder::new();
    let path = changed(&folder, |value| value["model"]["dropout"] = json!(0.1));
    assert_error(open(path), &["dropout 0.1", "null"]);
}

#[test]
fn ids_with_holes_need_the_largest() {
    let folder = Folder::new();
    let path = changed(&folder, |value| {
        let mut token = value["added_tokens"][0].clone();
        token["content"] = json!("<|later|>");
        token["id"] = json!(3000);
        value["added_tokens"].as_array_mut().unwrap().push(token);
        value["model"]["vocab"]["<|later|>"] = json!(3000);
    });
    assert_eq!(open(path).unwrap().vocab_size(), 3001);
}

#[test]
fn bytes_leave_no_other_tokenizer_beside_their_model() {
    let folder = tempfile::tempdir().unwrap();
    stories_tokenizer().save(folder.path()).unwrap();
    let files = || {
        let all = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = all.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let both = ["tokenizer.json", "tokenizer_config.json"];
    assert_eq!(files(), both, "and nothing half-written");
    Tokenizer::Bytes.save(folder.path()).unwrap();
    let aside = both.map(|name| std::ffi::OsString::from(format!("{name}.old")));
    assert_eq!(files(), aside, "it may be the only one there is");
}

#[test]
fn a_saved_tokenizer_opens_again() {
    let folder = Folder::new();
    let files = [data().join("stories.jsonl")];
    let tokenizer = Tokenizer::train(&files, 400, 1, true).unwrap();
    tokenizer.save(&folder.path("")).unwrap();
    let config = fs::read_to_string(folder.path("tokenizer_config.json")).unwrap();
    assert!(config.contains("\"eos_token\": \"<|endoftext|>\""), "{config}");
    let again = open(folder.path("")).unwrap();
    assert_eq!((again.vocab_size(), again.end_of_document()), (400, 0));
    let text = "It was a sunny day in the wood.";
    assert_eq!(again.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    let missing = folder.path("missing");
    assert_error(tokenizer.save(&missing), &["cannot write", "tokenizer.json"]);
}

fn json_of(tokenizer: &Tokenizer) -> String {
    let folder = Folder::new();
    tokenizer.save(&folder.path("")).unwrap();
    fs::read_to_string(folder.path("tokenizer.json")).unwrap()
}

#[test]
fn training_does_not_depend_on_workers_or_runs() {
    let files = [data().join("stories.jsonl"), data().join("README.md")];
    let train =
        |workers| json_of(&Tokenizer::train(&files, 600, workers, true).unwrap());
    let one = train(1);
    for workers in [1, 3] {
        assert!(train(workers) == one, "{workers} workers");
    }
}

/// The crate's own tokenizer, only to train: what it would do is checked against ours.
type Oracle = TokenizerBuilder<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>;

#[test]
fn training_finds_what_the_tokenizers_crate_finds() {
    let folder = Folder::new();
    let text = fs::read_to_string(data().join("stories.jsonl")).unwrap();
    let file = folder.write("some.txt", &text[..100_000]);
    let ours = Tokenizer::train(std::slice::from_ref(&file), 700, 1, true).unwrap();
    let ours: Value = serde_json::from_str(&json_of(&ours)).unwrap();

    let end = AddedToken::from("<|endoftext|>", true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(700)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![end])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut theirs = Oracle::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .build()
        .unwrap();
    theirs.train(&mut trainer, [&text[..100_000]].into_iter()).unwrap();
    let theirs: Value = serde_json::to_value(theirs.get_model()).unwrap();

    assert_eq!(ours["model"]["vocab"], theirs["vocab"]);
    assert_eq!(ours["model"]["merges"], theirs["merges"]);
    assert!(ours["model"]["merges"].as_array().unwrap().len() > 200);
}

#[test]
fn training_says_what_it_needs() {
    let folder = Folder::new();
    let file = folder.write("a.txt", "low low lower <|endoftext|> <|endoftext|>");
    let train = |size| Tokenizer::train(std::slice::from_ref(&file), size, 1, true);
    assert_error(train(256), &["256 tokens", "at least 257"]);
    // Few pairs occur twice, and the special token is not one of them.
    let small = train(1000).unwrap();
    assert_eq!(small.vocab_size(), 257 + 3, "lo, low, Ġlow");
    assert_eq!(small.encode("low<|endoftext|>").unwrap().len(), 2);

    let empty = folder.write("empty.txt", "");
    assert_error(Tokenizer::train(&[empty], 300, 1, true), &["empty.txt", "is empty"]);
    let blank = folder.write("blank.jsonl", "\n\n");
    assert_error(Tokenizer::train(&[blank], 300, 1, true), &["no text"]);
    assert_error(Tokenizer::train(&[], 300, 1, true), &["no text"]);
}

//! The committed stories are what the program writes, and they are good to train on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use corpus::Tokenizer;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[test]
fn the_committed_files_are_what_the_program_writes() {
    let folder = std::env::temp_dir().join(format!("stories-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    stories::write(&folder).unwrap();
    for name in ["stories.jsonl", "tokenizer.json", "tokenizer_config.json"] {
        let (new, committed) = (folder.join(name), data().join(name));
        assert!(
            fs::read(new).unwrap() == fs::read(committed).unwrap(),
            "data/{name} is not what `cargo run -p stories` writes; run it and commit"
        );
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_tokenizer_has_exactly_its_size_and_loses_nothing() {
    let tokenizer = Tokenizer::open(data().to_str().unwrap()).unwrap();
    assert_eq!(tokenizer.vocab_size(), stories::VOCABULARY);
    assert_eq!(tokenizer.end_of_document(), 0);
    let mut bytes = 0;
    let mut tokens = 0;
    for story in stories::stories(100).unwrap() {
        let ids = tokenizer.encode(&story).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), story);
        bytes += story.len();
        tokens += ids.len();
    }
    let ratio = bytes as f64 / tokens as f64;
    assert!(ratio > 3.5, "only {ratio:.2} bytes per token");
}

#[test]
fn no_hole_is_left_open_and_sentences_are_whole() {
    for story in stories::stories(stories::STORIES).unwrap() {
        for wrong in ["{", "}", "[", "]", "|", "=", "  ", ",.", " a a", " ,", "\"\""] {
            assert!(!story.contains(wrong), "{wrong:?} in: {story}");
        }
        assert_eq!(story.matches('"').count() % 2, 0, "a quote is open: {story}");
        assert_eq!(story.split("\n\n").count(), 4, "{story}");
        for part in story.split("\n\n") {
            let first = part.trim_start_matches('"').chars().next();
            assert!(first.is_some_and(char::is_uppercase), "{part}");
            assert!(part.ends_with(['.', '!', '?', '"']), "{part}");
        }
    }
}

#[test]
fn the_vocabulary_is_rich_and_no_two_stories_are_near_duplicates() {
    let stories = stories::stories(stories::STORIES).unwrap();
    let vocabulary: BTreeSet<String> = stories.iter().flat_map(|s| words(s)).collect();
    let size = vocabulary.len();
    assert!((1000..3000).contains(&size), "{size} distinct words");

    // Runs of five words that two stories share, as a part of all that either has.
    let mut ids: BTreeMap<Vec<String>, u32> = BTreeMap::new();
    let runs: Vec<BTreeSet<u32>> = stories
        .iter()
        .map(|story| {
            let words = words(story);
            let id = |run: &[String]| {
                let next = ids.len() as u32;
                *ids.entry(run.to_vec()).or_insert(next)
            };
            words.windows(5).map(id).collect()
        })
        .collect();
    let mut stories_with: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
    let mut worst = (0.0, 0, 0);
    for (i, mine) in runs.iter().enumerate() {
        // How many runs this story shares with each of those before it.
        let mut shared = vec![0; i];
        for &run in mine {
            stories_with[run as usize].iter().for_each(|&j| shared[j] += 1);
            stories_with[run as usize].push(i);
        }
        for (j, shared) in shared.into_iter().enumerate() {
            let part = shared as f64 / (mine.len() + runs[j].len() - shared) as f64;
            if part > worst.0 {
                worst = (part, i, j);
            }
        }
    }
    let (part, i, j) = worst;
    assert!(part < 0.6, "{part:.2} shared by\n{}\n\n{}", stories[i], stories[j]);
}

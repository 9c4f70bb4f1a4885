//! Short stories in plain English, from a seeded grammar: the text that the house ships
//! to train on. The same program, the same stories, byte for byte.
//!
//! A story has a hero, a friend and an elder, and one of some twenty plots, told in
//! four parts: how it begins, what goes wrong, what turns it, how it ends. The texts
//! are in `grammar/`; here the cast is chosen and the result tidied.

pub mod grammar;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use corpus::Tokenizer;
use serde_json::json;

use grammar::{Grammar, Random, Story, capital};

/// Number of stories written: about 1.6 MB.
pub const STORIES: usize = 1600;

/// Size of the vocabulary trained on them.
pub const VOCABULARY: usize = 2048;

const SEED: u64 = 2025;

/// The first `count` stories.
///
/// # Errors
/// If the grammar lacks a rule that it names.
pub fn stories(count: usize) -> Result<Vec<String>> {
    let text = [
        include_str!("../grammar/words.txt"),
        include_str!("../grammar/plots_home.txt"),
        include_str!("../grammar/plots_outside.txt"),
        include_str!("../grammar/plots_people.txt"),
    ];
    let grammar = Grammar::parse(&text.join("\n"))?;
    let plots = grammar.choices("plots")?;
    let mut random = Random(SEED);
    let mut bag: Vec<&String> = Vec::new();
    (0..count)
        .map(|_| {
            // Each plot once before any comes again.
            if bag.is_empty() {
                bag.extend(plots);
            }
            let plot = bag.swap_remove(random.below(bag.len()));
            tell(plot, Story::new(&grammar, &mut random))
                .with_context(|| format!("in the plot `{plot}`"))
        })
        .collect()
}

/// Writes `stories.jsonl`, `tokenizer.json` and `tokenizer_config.json` into `folder`;
/// returns the bytes of stories and the tokens of the vocabulary.
///
/// # Errors
/// If the folder cannot be written.
pub fn write(folder: &Path) -> Result<(usize, usize)> {
    let mut lines = String::new();
    for story in stories(STORIES)? {
        lines += &json!({ "text": story }).to_string();
        lines.push('\n');
    }
    let path = folder.join("stories.jsonl");
    fs::write(&path, &lines)
        .with_context(|| format!("cannot write `{}`", path.display()))?;

    let tokenizer = Tokenizer::train(&[path], VOCABULARY, 0, true)?;
    tokenizer.save(folder)?;
    Ok((lines.len(), tokenizer.vocab_size()))
}

/// One story: its cast, then the four parts of `plot`.
fn tell(plot: &str, mut story: Story) -> Result<String> {
    let child = story.below(5) < 3;
    let world = if child { "child" } else { "animal" };
    story.bind("world", world);
    story.bind("hand", if child { "hand" } else { "paw" });
    story.bind("hands", if child { "hands" } else { "paws" });
    let season = story.choose("season")?;
    story.bind("season", &season);
    let village = story.choose("village")?;
    story.bind("village", &village);
    let home = story.choose(&format!("{world}_home"))?;
    story.bind("home", &home);

    let hero = person(&mut story, "", "kind", child, None)?;
    story.bind("hero", &hero.0);
    let friend = person(&mut story, "f", "fkind", child, Some(&hero))?;
    story.bind("friend", &friend.0);
    let she = story.below(2) == 0;
    let gender = if she { "she" } else { "he" };
    let elder = story.choose(&format!("elder_{gender}_{world}"))?;
    story.bind("elder", &elder);
    pronouns(&mut story, "e", she);

    let mut parts = Vec::new();
    for part in ["begin", "problem", "turn", "end"] {
        parts.push(tidy(&story.choose(&format!("{plot}_{part}"))?));
    }
    Ok(parts.join("\n\n"))
}

/// Chooses a name and a kind unlike those of `other`, and binds the kind as `kind` and
/// the pronouns behind `prefix`.
fn person(
    story: &mut Story,
    prefix: &str,
    kind: &str,
    child: bool,
    other: Option<&(String, String)>,
) -> Result<(String, String)> {
    loop {
        let she = story.below(2) == 0;
        let names = match (child, she) {
            (true, true) => "girl",
            (true, false) => "boy",
            (false, true) => "animal_she",
            (false, false) => "animal_he",
        };
        let name = story.choose(names)?;
        let what = if child { names.into() } else { story.choose("animal")? };
        if other.is_some_and(|o| o.0 == name || (!child && o.1 == what)) {
            continue;
        }
        story.bind(kind, &what);
        pronouns(story, prefix, she);
        return Ok((name, what));
    }
}

fn pronouns(story: &mut Story, prefix: &str, she: bool) {
    let (he, him, his) = if she { ("she", "her", "her") } else { ("he", "him", "his") };
    story.bind(&format!("{prefix}he"), he);
    story.bind(&format!("{prefix}him"), him);
    story.bind(&format!("{prefix}his"), his);
}

/// Spaces, capitals after a full stop, "an" before a vowel, no comma before a stop.
fn tidy(text: &str) -> String {
    let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
    for at in 0..words.len() {
        let next = words.get(at + 1).and_then(|word| word.chars().next());
        let bare = words[at].trim_start_matches(['"', '(']);
        if (bare == "a" || bare == "A") && next.is_some_and(|c| "aeiou".contains(c)) {
            words[at].push('n');
        }
        let starts = at == 0 || {
            let before = &words[at - 1];
            before.ends_with(['.', '!', '?']) || before.ends_with(".\"")
        };
        if starts {
            words[at] = capital(&words[at]);
        }
    }
    let mut text = words.join(" ");
    for stop in [".", ",", "?", "!", ";"] {
        text = text.replace(&format!(",{stop}"), stop);
    }
    text
}

//! Commands: their placeholders, and how they look to a reader.
use std::collections::BTreeMap;

/// The names in `{…}` of an argument.
pub fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find('{')? + 1;
            let end = start + rest[start..].find('}')?;
            let name = &rest[start..end];
            rest = &rest[end + 1..];
            let letters = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            if !name.is_empty() && name.chars().all(letters) {
                return Some(name);
            }
        }
    })
}

/// An argument or a text with its placeholders filled in.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_string();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

/// A command as one would type it, with the placeholders of sweeps left in.
///
/// Where only we read a file, the flag that asks for it is left out: `--log {log}`,
/// `--record={json}`. A folder is one of the reader's own, `out/ID`; a file from
/// outside has its name.
pub fn show(id: &str, command: &[String], external: &[String]) -> String {
    let ours = |word: &str| word.ends_with("{log}") || word.ends_with("{json}");
    let mut words: Vec<String> = vec![];
    for word in command {
        if ours(word) && word.starts_with('{') {
            words.pop_if(|flag| flag.starts_with('-'));
        } else if !(ours(word) && word.starts_with('-')) {
            let mut word = word.replace("{dir}", &format!("out/{id}"));
            for name in external {
                word = word.replace(&format!("{{{name}}}"), name);
            }
            words.push(quote(&word));
        }
    }
    // `cargo run -p x --` with nothing after it.
    words.pop_if(|word| word == "--");
    words.join(" ")
}

/// An argument as a shell wants it, but for the braces of placeholders.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &str) -> String {
        let words: Vec<String> = command.split(' ').map(String::from).collect();
        show("a_run", &words, &["some.txt".into(), "text".into()])
    }

    #[test]
    fn flags_for_our_files_are_not_shown() {
        assert_eq!(shown("cargo run -p a -- --log {log}"), "cargo run -p a");
        assert_eq!(shown("x.py tiny --record={json} -v"), "x.py tiny -v");
        assert_eq!(shown("x {json}"), "x");
        assert_eq!(shown("a --save {dir}/b"), "a --save out/a_run/b");
        assert_eq!(shown("a {some.txt} -t={text} {lr}"), "a some.txt -t=text {lr}");
    }

    #[test]
    fn arguments_are_quoted_as_a_shell_needs() {
        let show = |word: &str| show("x", &["echo".into(), word.into()], &[]);
        assert_eq!(show("two words"), "echo 'two words'");
        assert_eq!(show("it's"), r"echo 'it'\''s'");
        assert_eq!(show("$x"), "echo '$x'");
        assert_eq!(show("a/b-c=1.5"), "echo a/b-c=1.5");
        assert_eq!(show(""), "echo ''");
    }

    #[test]
    fn braces_that_hold_no_name_are_no_placeholder() {
        let names = |word| placeholders(word).collect::<Vec<_>>();
        assert_eq!(names("{a}/x{b.txt}"), ["a", "b.txt"]);
        assert!(names("{} {a b} {").is_empty());
    }
}

//! What a terminal would show of a program's output.

/// The output's lines as they look at the end: what a carriage return or a backspace
/// let the program overwrite is gone, and so are colours, trailing space and cargo's
/// reports of its building.
///
/// Of the escape sequences only those that erase within the line are obeyed; a program
/// that moves the cursor up is not followed.
pub fn lines(output: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        output.split('\n').map(shown).filter(|line| !is_cargo(line)).collect();
    let end =
        lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines.truncate(end);
    lines
}

fn shown(line: &str) -> String {
    let mut cells: Vec<char> = vec![];
    let mut cursor = 0_usize;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '\r' => cursor = 0,
            '\u{8}' => cursor = cursor.saturating_sub(1),
            '\u{1b}' => escape(&mut chars, &mut cells, cursor),
            char if char.is_control() && char != '\t' => {}
            char => {
                if cells.len() <= cursor {
                    cells.resize(cursor + 1, ' ');
                }
                cells[cursor] = char;
                cursor += 1;
            }
        }
    }
    let line: String = cells.into_iter().collect();
    line.trim_end().to_string()
}

/// Reads what follows an escape character.
fn escape(chars: &mut std::str::Chars, cells: &mut Vec<char>, cursor: usize) {
    match chars.next() {
        // Parameters, then a letter that says what to do.
        Some('[') => {
            let mut parameters = String::new();
            for char in chars.by_ref() {
                match char {
                    'K' if parameters == "2" => return cells.fill(' '),
                    'K' if parameters == "1" => {
                        let end = cells.len().min(cursor + 1);
                        return cells[..end].fill(' ');
                    }
                    'K' => return cells.truncate(cursor),
                    '@'..='~' => return,
                    char => parameters.push(char),
                }
            }
        }
        // A window's title or a link, until a bell or a closing escape.
        Some(']') => {
            while let Some(char) = chars.next() {
                if char == '\u{7}' {
                    return;
                }
                if char == '\u{1b}' {
                    chars.next();
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Whether cargo says what it does: a verb that ends in the twelfth column.
fn is_cargo(line: &str) -> bool {
    const VERBS: [&str; 12] = [
        "Compiling",
        "Checking",
        "Building",
        "Finished",
        "Running",
        "Fresh",
        "Blocking",
        "Locking",
        "Updating",
        "Downloading",
        "Downloaded",
        "Doc-tests",
    ];
    line.split_at_checked(12).is_some_and(|(verb, rest)| {
        verb.starts_with(' ')
            && VERBS.contains(&verb.trim_start())
            && rest.starts_with(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_progress_line_leaves_its_last_state() {
        assert_eq!(
            lines("step 1/20 long\rstep 2/20\x1b[K\nend\n"),
            ["step 2/20", "end"]
        );
        assert_eq!(lines("abcdef\rxy\n"), ["xycdef"]);
        assert_eq!(lines("a\r\nb\r\n"), ["a", "b"]);
        assert_eq!(lines("abc\x08\x08X\n"), ["aXc"]);
        assert_eq!(lines("abc\x1b[2K\rd"), ["d"]);
        assert_eq!(lines("abcd\x08\x08\x1b[1KX"), ["  Xd"]);
    }

    #[test]
    fn colours_and_titles_go_but_words_stay() {
        assert_eq!(lines("\x1b[1;31mred\x1b[0m é\x1b]0;title\x07!"), ["red é!"]);
        assert_eq!(lines("\x1b]8;;http://x\x1b\\link"), ["link"]);
    }

    #[test]
    fn cargo_is_silent_about_its_building() {
        let output = "   Compiling a v0.1.0\n    Finished `dev` profile\n\
                      \x20    Running `x`\nCompiling the data\n  Finished\nrest\n\n";
        assert_eq!(lines(output), ["Compiling the data", "  Finished", "rest"]);
    }
}

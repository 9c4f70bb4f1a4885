//! Rust with the classes of highlight.js, so that a diff is coloured as the theme that
//! the reader has chosen colours all code.
use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};

/// A stretch of text and its class.
pub struct Piece {
    /// Its length in bytes.
    pub len: usize,
    /// A class of highlight.js.
    pub class: Option<&'static str>,
}

const KEYWORDS: [&str; 36] = [
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else",
    "enum", "extern", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod",
    "move", "mut", "pub", "ref", "return", "self", "static", "struct", "super",
    "trait", "type", "union", "unsafe", "use", "where", "while",
];

/// Cuts Rust source into pieces that cover all of it.
pub fn rust(text: &str) -> Vec<Piece> {
    let mut pieces = vec![];
    let mut at = 0;
    // What the word before was: names that are defined stand out.
    let mut before = "";
    for token in tokenize(text, FrontmatterAllowed::No) {
        let len = token.len as usize;
        let word = &text[at..at + len];
        at += len;
        let next = text[at..].chars().next();
        let class = match token.kind {
            TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => {
                Some("hljs-comment")
            }
            TokenKind::Literal { kind, .. } => Some(match kind {
                LiteralKind::Int { .. } | LiteralKind::Float { .. } => "hljs-number",
                _ => "hljs-string",
            }),
            TokenKind::Lifetime { .. } => Some("hljs-symbol"),
            TokenKind::Ident => word_class(word, before, next),
            _ => None,
        };
        if token.kind == TokenKind::Ident {
            before = word;
        } else if token.kind != TokenKind::Whitespace {
            before = "";
        }
        pieces.push(Piece { len, class });
    }
    pieces
}

fn word_class(word: &str, before: &str, next: Option<char>) -> Option<&'static str> {
    match word {
        "true" | "false" => Some("hljs-literal"),
        "Self" => Some("hljs-keyword"),
        _ if KEYWORDS.contains(&word) => Some("hljs-keyword"),
        _ if before == "fn" => Some("hljs-title"),
        _ if next == Some('!') => Some("hljs-built_in"),
        "bool" | "char" | "f16" | "f32" | "f64" | "str" | "usize" | "isize" => {
            Some("hljs-type")
        }
        _ if is_integer(word) => Some("hljs-type"),
        _ if word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.contains(|c: char| c.is_ascii_lowercase()) =>
        {
            Some("hljs-type")
        }
        _ => None,
    }
}

fn is_integer(word: &str) -> bool {
    word.strip_prefix(['u', 'i'])
        .is_some_and(|bits| ["8", "16", "32", "64", "128"].contains(&bits))
}

#[cfg(test)]
mod tests {
    /// Each word that has a class, with what follows `hljs-`.
    fn classes(text: &str) -> Vec<(&str, &str)> {
        let mut at = 0;
        let mut found = vec![];
        for piece in super::rust(text) {
            let word = &text[at..at + piece.len];
            at += piece.len;
            found.extend(piece.class.map(|class| (word, &class["hljs-".len()..])));
        }
        assert_eq!(at, text.len());
        found
    }

    #[test]
    fn words_have_the_classes_of_highlight_js() {
        let text =
            "/* a */ fn größe<'a>(x: &'a u8) -> Self { N.f(vec![1, 2.0, i7]) } // b";
        let expected = [
            ("/* a */", "comment"),
            ("fn", "keyword"),
            ("größe", "title"),
            ("'a", "symbol"),
            ("'a", "symbol"),
            ("u8", "type"),
            ("Self", "keyword"),
            ("vec", "built_in"),
            ("1", "number"),
            ("2.0", "number"),
            ("// b", "comment"),
        ];
        assert_eq!(classes(text), expected);
        let text = "struct Wide(f32, MAX); if true { \"s\"; 'c' } else { fn (go) }";
        let expected = [
            ("struct", "keyword"),
            ("Wide", "type"),
            ("f32", "type"),
            ("if", "keyword"),
            ("true", "literal"),
            ("\"s\"", "string"),
            ("'c'", "string"),
            ("else", "keyword"),
            ("fn", "keyword"),
        ];
        assert_eq!(classes(text), expected);
    }
}

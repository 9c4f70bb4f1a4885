//! A Rust file as the compiler's tokens, so that rewording a comment changes nothing.
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};
use sha2::{Digest, Sha256};

/// A token as it is written.
pub struct Token<'a> {
    /// Its characters.
    pub text: &'a str,
    /// Whether it is a sign that touches the sign before it.
    touches: bool,
}

/// All tokens but comments, documentation and space.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = vec![];
    let mut start = 0;
    let mut after_sign = false;
    for token in tokenize(source, FrontmatterAllowed::No) {
        let text = &source[start..start + token.len as usize];
        start += token.len as usize;
        match token.kind {
            TokenKind::Whitespace
            | TokenKind::LineComment { .. }
            | TokenKind::BlockComment { .. } => after_sign = false,
            kind => {
                let sign = is_sign(kind);
                tokens.push(Token { text, touches: sign && after_sign });
                after_sign = sign;
            }
        }
    }
    tokens
}

/// Enters the tokens of a Rust file into a hash.
///
/// Of the space between them only this counts: whether two signs touch, for `&&` is
/// not `& &`.
pub fn hash(source: &str, hasher: &mut Sha256) {
    for token in tokens(source) {
        hasher.update([0, u8::from(token.touches)]);
        hasher.update(token.text);
    }
}

fn is_sign(kind: TokenKind) -> bool {
    !matches!(
        kind,
        TokenKind::Ident
            | TokenKind::RawIdent
            | TokenKind::InvalidIdent
            | TokenKind::UnknownPrefix
            | TokenKind::Lifetime { .. }
            | TokenKind::RawLifetime
            | TokenKind::Literal { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> String {
        let mut hasher = Sha256::new();
        hash(source, &mut hasher);
        super::super::inputs::hex(hasher)
    }

    #[test]
    fn comments_and_layout_do_not_count() {
        let plain = of("fn f(a: &[u8]) -> u8 { a[0] }");
        let told =
            "/// Says.\nfn f(a: &[u8]) -> u8 {\n    // why\n    a[0] /* x */\n}\n";
        assert_eq!(plain, of(told));
        assert_eq!(of("//! a\nstruct A;"), of("//! b\nstruct A;"));
        // A comment inside a string is no comment.
        assert_ne!(of(r#"let a = "// one";"#), of(r#"let a = "// two";"#));
    }

    #[test]
    fn tokens_count() {
        assert_ne!(of("let a = 1;"), of("let a = 2;"));
        assert_ne!(of("let a = b && c;"), of("let a = b & &c;"));
        assert_ne!(of("let ab;"), of("let a b;"));
        assert_eq!(of("a&&b"), of("a && b"));
    }
}

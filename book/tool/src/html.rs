//! HTML and URLs.
use pulldown_cmark::{BrokenLink, Event, Options, Parser};

/// Text as HTML shows it, in content and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A line of a doc comment, which is markdown: `code` as code, links as their text.
pub fn doc_line(text: &str) -> String {
    let mut out = String::new();
    // rustdoc finds what `[name]` is by itself.
    let link = |_: BrokenLink| Some(("".into(), "".into()));
    let events =
        Parser::new_with_broken_link_callback(text, Options::empty(), Some(link));
    for event in events {
        match event {
            Event::Code(code) => out += &format!("<code>{}</code>", escape(&code)),
            Event::Text(text) | Event::InlineHtml(text) => out += &escape(&text),
            Event::SoftBreak => out.push(' '),
            _ => {}
        }
    }
    out
}

/// A URL's text: `a%20b` is `a b`.
pub fn decoded(url: &str) -> String {
    let mut bytes = vec![];
    let mut rest = url.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        if let (b'%', Some(byte)) = (first, byte) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn doc_comments_lose_their_links_and_keep_their_code() {
        let line = super::doc_line("The [`ranks`](fn@ranks) of a < `b[i]`, see [c].");
        assert_eq!(line, "The <code>ranks</code> of a &lt; <code>b[i]</code>, see c.");
        let line = super::doc_line("*All* of a\n<b> & c.");
        assert_eq!(line, "All of a &lt;b&gt; &amp; c.");
    }

    #[test]
    fn a_percent_sign_is_decoded_where_it_can_be() {
        assert_eq!(super::decoded("a%20b%C3%B6%2fc"), "a bö/c");
        assert_eq!(super::decoded("100%, %g0, %4"), "100%, %g0, %4");
    }
}

//! HTML.

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

/// A line of a doc comment: `code` as code, links as their text.
pub fn doc_line(text: &str) -> String {
    let mut out = String::new();
    for (at, piece) in text.split('`').enumerate() {
        let code = at % 2 == 1;
        if code {
            out.push_str("<code>");
        }
        out.push_str(&escape(piece));
        if code {
            out.push_str("</code>");
        }
    }
    // `[text](target)` and `[text]`, in that order.
    while let Some((before, rest)) = out.split_once("](") {
        let after = rest.split_once(')').map_or("", |(_, after)| after);
        out = format!("{before}]{after}");
    }
    out.replace(['[', ']'], "")
}

#[cfg(test)]
mod tests {
    #[test]
    fn doc_comments_lose_their_links_and_keep_their_code() {
        let line = super::doc_line("The [`ranks`](fn@ranks) of a < `b`, see [c].");
        assert_eq!(line, "The <code>ranks</code> of a &lt; <code>b</code>, see c.");
    }
}

//! Everything broken on a page fails the build at its line.
use crate::helpers::*;
use std::fs;

/// What is on the page, what the build says; all of them at once, each at its line.
const BREAKS: [(&str, &str); 34] = [
    (
        "{{#diff ch01_base/src/lost.rs ch02_wider/src/model.rs}}",
        "cannot read chapters/ch01_base/src/lost.rs",
    ),
    ("{{#code ch01_base/src/layer.rs:lost}}", "there is no item `lost`"),
    ("{{#code shared/tools/src/lost.rs}}", "cannot read shared/tools/src/lost.rs"),
    ("{{#run lost}}", "lost"),
    ("It is {{#value lost.loss}} nats.", "lost"),
    ("{{#figure lost caption=\"x\"}}", "no figure `lost`"),
    ("{{#figure lost}}", "a figure needs a caption"),
    ("{{#exercise ch01_base ex1_lost}}", "ch01_base has no exercise `ex1_lost`"),
    ("The sum $\\frac{1}$ is", "formula `\\frac{1}`"),
    ("It costs $5 a day.", "opens a formula that does not end"),
    ("[there](lost.md)", "SUMMARY.md has no page lost.md"),
    ("[there](more/second.md#lost)", "more/second.md has no heading #lost"),
    ("[here](#lost)", "index.md has no heading #lost"),
    ("![picture](lost.svg)", "link to `lost.svg`"),
    ("[contents](SUMMARY.md)", "SUMMARY.md has no page SUMMARY.md"),
    ("<a href=\"lost.html\">there</a>", "link to `lost.html`"),
    ("```\ncode\n```", "a block of code without a language"),
    ("    indented();", "an indented block of code"),
    ("{{#include lost.md}}", "no directive `include`"),
    ("  {{#step ch01}}", "stands alone in its line"),
    ("{{#run a head=3 color=red}}", "has no option `color`"),
    ("{{#run a head=few}}", "head=few: expected a number of lines"),
    ("{{#run}}", "takes 1 arguments, not 0"),
    ("{{#run \"a}}", "a quotation mark is not closed"),
    ("It is {{#value lost\n}}", "`{{#` without `}}` in its line"),
    ("{{#figure whole caption=\"It is {{#value lost.loss}}.\"}}", "no run `lost`"),
    ("> - {{#step ch01}}", "stands alone in its line"),
    ("[to][nothing]", "a link by reference that is defined nowhere"),
    ("Said elsewhere[^none].", "a footnote that is defined nowhere"),
    ("[up](../index.md)", "a path inside the book"),
    ("[root](/etc/hostname)", "a path inside the book"),
    ("<a\nhref='lost.html'>there</a>", "link to `lost.html`"),
    ("```,ignore\ncode\n```", "a block of code without a language"),
    // Last: what comes after it is code.
    ("````sh\ncode\n```", "a block of code that does not end"),
];

#[test]
fn every_break_fails_the_build_at_its_line() {
    for (text, expected) in BREAKS {
        let said = refused_page(text);
        assert!(said.starts_with("the book has 1 problem:\n"), "{text}: {said}");
        let line = said.lines().nth(1).unwrap();
        let place = "  book/src/index.md:6: ";
        assert!(line.starts_with(place), "{text}: {said}");
        assert!(line.contains(expected), "{text}: {said}");
    }
}

#[test]
fn all_breaks_are_listed_at_once() {
    let breaks = BREAKS.map(|(text, _)| text.to_string() + "\n\n");
    let text = breaks.concat();
    let said = refused_page(&text);
    assert_eq!(said.lines().count(), 1 + BREAKS.len(), "{said}");
    let lines = said.lines().skip(1).map(|line| line.split(':').nth(1).unwrap());
    assert!(lines.map(|line| line.parse::<usize>().unwrap()).is_sorted(), "{said}");
    let mut line = 6;
    for ((_, expected), text) in BREAKS.iter().zip(breaks) {
        let place = format!("  book/src/index.md:{line}: ");
        let mut found = said.lines().filter(|said| said.starts_with(&place));
        assert!(found.any(|said| said.contains(expected)), "{line} {expected}: {said}");
        line += text.matches('\n').count();
    }
}

#[test]
fn what_is_wrong_twice_in_a_line_is_told_once() {
    let said = refused_page("[to](lost.md) and [to](lost.md)");
    assert!(said.starts_with("the book has 1 problem:\n"), "{said}");
}

/// A front page that must build, as it looks then.
fn shown(page: &str) -> String {
    let folder = workspace();
    write(folder.path(), "book/src/index.md", page);
    html(folder.path(), "index.html")
}

#[test]
fn directives_and_formulas_in_code_are_code() {
    for (fence, end) in [
        ("```sh", "```"),
        ("~~~~ sh title", "~~~~~~"),
        ("1. - ```sh $5", "     ```"),
        ("> ```sh", "> ```"),
        ("- Of a list:\n\n   ```sh", "   ```"),
    ] {
        let indent = match fence.rsplit_once(['`', '~']).map_or("", |(start, _)| start)
        {
            start if start.starts_with('>') => "> ",
            start if start.starts_with('1') => "     ",
            start if start.starts_with('-') => "   ",
            _ => "",
        };
        let page = format!(
            "# Front\n\n{fence}\n{indent}{{{{#step ch09}}}} $a$\n{end}\n\n\
             Then $b$ and \\$3.\n"
        );
        let html = shown(&page);
        assert!(html.contains("{{#step ch09}} $a$"), "{page}\n{html}");
        assert_eq!(html.matches("<math").count(), 1, "{page}\n{html}");
    }
    // Backticks inside a line begin no block.
    let html = shown("# Front\n\n``` a ``` is code and $b$ is not.\n\n{{#step ch03}}");
    assert_eq!(html.matches("<math").count(), 1, "{html}");
    assert!(html.contains("<div class=\"step\">"), "{html}");
}

#[test]
fn text_goes_on_after_a_directive() {
    let directives = [
        "{{#diff ch01_base/src/model.rs ch02_wider/src/model.rs}}",
        "{{#step ch02}}",
        "{{#house}}",
        "{{#sizes}}",
        "{{#guards}}",
        "{{#code ch01_base/src/model.rs:Model}}",
        "{{#figure whole caption=\"Is *it*?\"}}",
    ];
    let mut page = String::from("# Front\n\n");
    for directive in directives {
        page += &format!("Before *it*.\n{directive}\nAfter *it*.\n\n");
    }
    // On Windows, too.
    for page in [page.clone(), page.replace('\n', "\r\n")] {
        let html = shown(&page);
        for text in ["<p>Before <em>it</em>.</p>", "<p>After <em>it</em>.</p>"] {
            assert_eq!(html.matches(text).count(), directives.len(), "{html}");
        }
    }
}

#[test]
fn listings_are_whole() {
    let folder = workspace();
    let root = folder.path();
    // No newline at the end, fences inside, and what mdBook would hide.
    let text = "//! ```sh\n//! ls\n//! ```\nconst SCRIPT: &str = r\"\n\
                # comment\n## twice\n  #\n#pragma\n\";\n#[derive(Clone)]\nstruct Last;";
    write(root, "chapters/ch01_base/src/layer.rs", text);
    write(root, "scripts/x.patch", "-a\n+b\n");
    write(root, "scripts/x.sh", "# First\r\nls ````");
    let page = "# Front\n\n{{#code ch01_base/src/layer.rs}}\n\
                {{#code scripts/x.patch}}\n{{#code scripts/x.sh}}\nAfter *it*.\n";
    write(root, "book/src/index.md", page);
    let html = html(root, "index.html");
    let lines = "r\"\n# comment\n## twice\n  #\n#pragma\n\";\n#[derive(Clone)]\n\
                 struct Last;</code>";
    assert!(html.contains(lines), "{html}");
    let title = "<code>chapters/ch01_base/src/layer.rs</code><";
    assert!(html.contains(title), "{html}");
    assert!(html.contains("># First\nls ````\n</code>"), "{html}");
    assert!(html.contains("<code class=\"language-diff\">-a\n+b\n</code>"));
    assert!(html.contains("<em>it</em>"), "{html}");
}

#[test]
fn sizes_count_code_without_tests() {
    let folder = workspace();
    let root = folder.path();
    let code = "//! Layer.\nuse std::fmt;\n#[cfg(test)]\nuse std::io;\n\n\
                #[cfg(test)]\nmod early {\n    const A: &str = \"\n}\n\";\n}\n\
                #[cfg(feature = \"x\")]\nfn kept() {}\n#[cfg(test)]\nfn helper() {}\n\
                #[cfg(test)]\nimpl A for B {\n    // why\n}\nfn last() {}\n";
    write(root, "chapters/ch01_base/src/layer.rs", code);
    write(root, "book/src/index.md", "# Front\n\n{{#sizes}}\n");
    let html = html(root, "index.html");
    // 3 of lib.rs, 4 of layer.rs, 11 of model.rs, 5 of train.rs, 3 of main.rs.
    let row = "<td>5</td><td>54</td><td>0</td><td>+0 −0</td><td>26</td>";
    assert!(html.contains(row), "{html}");
    // 6 and 1 of lib.rs, 2 and 1 of model.rs; of code 3, 2, and 1 of wide.rs.
    let row = "<td>1</td><td>2</td><td>2</td><td>+8 −2</td><td>6</td>";
    assert!(html.contains(row), "{html}");
}

#[test]
fn captions_are_markdown() {
    let page = "# Front\n\n{{#figure whole caption=\"`a < b` and $x^2$, 50% ~\"}}\n";
    let html = shown(page);
    assert!(html.contains("<p><code>a &lt; b</code> and <math"), "{html}");
}

#[test]
fn links_of_all_kinds_lead_somewhere() {
    let folder = workspace();
    let root = folder.path();
    write(
        root,
        "book/src/my page.md",
        "# Größe, *in* `Bytes` [x](#a)\n\n<a id='a'></a>\n",
    );
    write(root, "book/src/data.txt", "Data.\n");
    write(root, "book/src/plain.html", "Plain.\n");
    replace(
        root,
        "book/src/SUMMARY.md",
        "- [Second]",
        "[Mine](<my page.md>)\n\n- [Second]",
    );
    let second = "# Second\n\n## `a_b-c`!\n\n## A -- `b::c` & $x$\n\n\
                  Two\nlines\n---\n\nterm\n: what it is\n\n\
                  ## Same {#same}\n\n## Same\n\n### Same\n\n<a\nid=\"raw\"></a>\n\n\
                  [f](../index.md \"Title\") [s](./../more/second.md)\n";
    write(root, "book/src/more/second.md", second);
    let ids = ["a_b-c", "a--bc--x", "two-lines", "term", "same", "same-1", "raw"];
    let links: String =
        ids.iter().map(|id| format!("[x](more/second.md#{id})\n")).collect();
    let page = format!(
        "# Front\n\n{links}\n[1](my%20page.md#gr%C3%B6%C3%9Fe-in-bytes-x)\n\
         [2](<my page.md#größe-in-bytes-x>) [3](my%20page.md#a) [4](data.txt)\n\
         [8](plain.html) \
         <me@example.org> [5](mailto:me@example.org) [6](tel:1) <https://example.org>\n\
         [7][def] `a[i][j]` <A HREF='data.txt'>x</A>[^1] [not a link]\n\n\
         [def]: more/second.md\n[^1]: A note.\n"
    );
    write(root, "book/src/index.md", &page);
    let html = html(root, "more/second.html");
    for id in ids {
        assert_eq!(
            html.matches(&format!("id=\"{id}\"")).count(),
            if id == "same" { 2 } else { 1 },
            "{id}: {html}"
        );
    }
    write(root, "book/src/index.md", "# Front\n\n[x](more/second.md#same-2)\n");
    assert!(refused(root).contains("has no heading #same-2"));
}

#[test]
fn summary_and_pages_agree() {
    let folder = workspace();
    write(folder.path(), "book/src/lost.md", "# Lost\n");
    let said = refused(folder.path());
    assert!(said.contains("book/src/lost.md:1: not in SUMMARY.md"), "{said}");
    let folder = workspace();
    fs::remove_file(folder.path().join("book/src/more/second.md")).unwrap();
    let said = refused(folder.path());
    assert!(
        said.contains("SUMMARY.md:4: there is no page book/src/more/second.md"),
        "{said}"
    );
    // Of a chapter's sections, too.
    replace(
        folder.path(),
        "book/src/SUMMARY.md",
        "more/second.md)\n",
        "more/second.md)\n  - [Third](third.md)\n",
    );
    let said = refused(folder.path());
    assert!(
        said.contains("SUMMARY.md:5: there is no page book/src/third.md"),
        "{said}"
    );
    // With all that is wrong elsewhere.
    assert!(said.contains("index.md:3: link to `more/second.md"), "{said}");
}

#[test]
fn what_mdbook_warns_of_fails_the_build() {
    let said = refused_page("<div>\n\nnot closed");
    assert!(said.contains("mdBook warns"), "{said}");
}

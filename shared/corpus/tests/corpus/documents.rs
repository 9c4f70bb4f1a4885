//! Text files: what becomes a document, and what is refused.

use corpus::{Corpus, Tokenizer};

use crate::{
    Folder, assert_error, assert_same, data, options, stories_tokenizer, stream,
};

const BYTES: Tokenizer = Tokenizer::Bytes;

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn a_plain_file_is_one_document() {
    let folder = Folder::new();
    for name in ["a.txt", "b.md", "noextension"] {
        let file = folder.write(name, "one\n\ntwo\n");
        assert_eq!(stream(&[&file], 1, &BYTES).unwrap(), bytes("one\n\ntwo\n\0"));
    }
}

#[test]
fn a_jsonl_line_is_one_document() {
    let folder = Folder::new();
    let text = "\u{feff}{\"text\": \"one\", \"id\": 3}\n\n{\"text\":\"tw\\u00f6\"}\r\n\
                {\"text\": \"\"}\n   \n{\"text\": \"x\\n\"}";
    let file = folder.write("a.jsonl", text);
    // An empty document leaves no trace; the last line needs no newline.
    assert_eq!(stream(&[&file], 1, &BYTES).unwrap(), bytes("one\0twö\0x\n\0"));
}

#[test]
fn a_spelled_out_end_separates_documents() {
    let folder = Folder::new();
    let tokenizer = stories_tokenizer();
    let file = folder.write("a.txt", "One day<|endoftext|>Once<|endoftext|>");
    let tokens = stream(&[&file], 1, &tokenizer).unwrap();
    let ends = |ids: &[u32]| ids.iter().filter(|&&id| id == 0).count();
    assert_eq!((ends(&tokens), tokens.last()), (2, Some(&0)), "none is added");
}

#[test]
fn files_are_joined_in_order() {
    let folder = Folder::new();
    let a = folder.write("a.txt", "aa");
    let b = folder.write("b.jsonl", "{\"text\": \"b\"}\n{\"text\": \"c\"}\n");
    assert_eq!(stream(&[&b, &a], 1, &BYTES).unwrap(), bytes("b\0c\0aa\0"));
}

#[test]
fn a_broken_line_is_named() {
    let good = "{\"text\": \"one\"}\n";
    let cases: [(&[u8], &[&str]); 8] = [
        (b"{\"text\": \"two\"", &["bad.jsonl:2", "not valid JSON"]),
        (b"two", &["bad.jsonl:2", "not valid JSON"]),
        (b"{\"text\": \"a\"} {\"text\": \"b\"}", &["bad.jsonl:2", "not valid JSON"]),
        (b"[1]", &["bad.jsonl:2", "a list", "expected an object"]),
        (
            b"{\"content\": \"x\", \"id\": 1}",
            &["bad.jsonl:2", "no \"text\"", "content"],
        ),
        (b"{\"text\": 7}", &["bad.jsonl:2", "a number", "expected a string"]),
        (b"{\"text\": null}", &["bad.jsonl:2", "null", "expected a string"]),
        (b"{\"text\": \"\xff\"}", &["bad.jsonl:2", "not UTF-8", "byte 10", "0xff"]),
    ];
    for (line, parts) in cases {
        let folder = Folder::new();
        let file = folder.write("bad.jsonl", [good.as_bytes(), line, b"\n"].concat());
        assert_error(stream(&[&file], 1, &BYTES), parts);
    }
}

#[test]
fn text_that_is_no_text_is_named() {
    let folder = Folder::new();
    let latin = folder.write("latin.txt", b"caf\xe9 au lait");
    assert_error(stream(&[&latin], 1, &BYTES), &["latin.txt", "offset 3", "0xe9"]);

    let nul = folder.write("nul.txt", "abc\0def");
    assert_error(stream(&[&nul], 1, &BYTES), &["nul.txt", "NUL", "offset 3"]);
    // Another tokenizer has no quarrel with it.
    assert!(stream(&[&nul], 1, &stories_tokenizer()).is_ok());

    let nul = folder.write("nul.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\\u0000\"}\n");
    assert_error(stream(&[&nul], 1, &BYTES), &["nul.jsonl:2", "NUL", "offset 1"]);
}

#[test]
fn nothing_to_read_is_an_error() {
    let folder = Folder::new();
    let open = |files: &[&std::path::Path]| Corpus::open(&options(files, 8), &BYTES);
    assert_error(open(&[]), &["no data files"]);
    let empty = folder.write("empty.txt", "");
    assert_error(open(&[&empty]), &["empty.txt", "is empty"]);
    let none = folder.write("none.jsonl", "{\"text\": \"\"}\n\n");
    assert_error(open(&[&none]), &["none.jsonl", "no text"]);
    assert_error(open(&[&folder.path("missing.txt")]), &["missing.txt", "cannot open"]);
    assert_error(open(&[&folder.path("")]), &["is a folder", "name the files"]);
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let tokenizer = stories_tokenizer();
    let file = data().join("stories.jsonl");
    let one = stream(&[&file], 1, &tokenizer).unwrap();
    for workers in [3, 0] {
        assert_same(&stream(&[&file], workers, &tokenizer).unwrap(), &one);
    }
}

/// About 400 kB in one document, with lines of all kinds.
fn long_text() -> String {
    let mut text = String::new();
    for i in 0..9_000u32 {
        let end = ["\n", "\n\n", " \n", "\r\n", "\n  ", ".\n\t", "…\n"][i as usize % 7];
        text += &format!("line {i}, don't {} ünï{end}", i.wrapping_mul(2_654_435_761));
    }
    text
}

#[test]
fn a_long_document_is_cut_where_it_changes_nothing() {
    let folder = Folder::new();
    let text = long_text();
    let file = folder.write("long.txt", &text);
    let tokenizer = stories_tokenizer();
    let mut whole = tokenizer.encode(&text).unwrap();
    whole.push(0);
    for workers in [1, 3] {
        assert_same(&stream(&[&file], workers, &tokenizer).unwrap(), &whole);
    }
}

#[test]
fn a_long_document_stays_whole_where_a_cut_would_show() {
    // This tokenizer puts a character in front of every text that it is given.
    let folder = Folder::new();
    let json = std::fs::read_to_string(data().join("tokenizer.json")).unwrap();
    let prepend = "\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"Q\"}";
    let json = json.replace("\"normalizer\": null", prepend);
    let path = folder.write("tokenizer.json", json);
    let tokenizer = Tokenizer::open(path.to_str().unwrap()).unwrap();
    let text = long_text();
    let file = folder.write("long.txt", &text);
    let mut whole = tokenizer.encode(&text).unwrap();
    assert!(tokenizer.decode(&whole).unwrap().starts_with("Qline 0"));
    whole.push(0);
    assert_same(&stream(&[&file], 2, &tokenizer).unwrap(), &whole);
}

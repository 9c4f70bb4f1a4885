//! `.bin` and `.idx`: what megatron-core wrote, what we write, and what is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use corpus::Tokenizer;
use corpus::indexed::{Builder, DType, Dataset, pair};
use serde_json::Value;

use crate::{Folder, assert_error, stories_tokenizer, stream};

const TYPES: [(&str, DType); 6] = [
    ("uint8", DType::U8),
    ("int8", DType::I8),
    ("int16", DType::I16),
    ("int32", DType::I32),
    ("int64", DType::I64),
    ("uint16", DType::U16),
];

/// Made by megatron-core: see make.py there.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/megatron")
}

/// Documents of sequences of tokens, as make.py wrote them.
fn expected(name: &str) -> Vec<Vec<Vec<u32>>> {
    let text = fs::read_to_string(fixtures().join("tokens.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

fn sequence(dataset: &Dataset, index: usize) -> anyhow::Result<Vec<u32>> {
    let mut tokens = vec![0; dataset.sequence_len(index)];
    dataset.read(index, 0, &mut tokens)?;
    Ok(tokens)
}

#[test]
fn datasets_of_megatron_core_are_read_as_written() {
    for (name, dtype) in TYPES {
        let dataset = Dataset::open(&fixtures().join(name)).unwrap();
        assert_eq!(dataset.dtype(), dtype);
        let read: Vec<Vec<Vec<u32>>> = (0..dataset.documents())
            .map(|document| {
                let sequences = dataset.document(document);
                sequences.map(|i| sequence(&dataset, i).unwrap()).collect()
            })
            .collect();
        assert_eq!(read, expected(name), "{name}");
        assert_eq!(dataset.sequences(), 8);
    }
}

#[test]
fn part_of_a_sequence_is_read() {
    let dataset = Dataset::open(&fixtures().join("int32")).unwrap();
    let mut tokens = [0; 3];
    dataset.read(5, 2, &mut tokens).unwrap();
    assert_eq!(tokens, [14, 15, 16]);
}

#[test]
fn datasets_are_written_as_megatron_core_does() {
    for (name, dtype) in TYPES {
        let folder = Folder::new();
        let mut builder = Builder::create(&folder.path("ours"), dtype).unwrap();
        for document in expected(name) {
            for sequence in document {
                builder.add_sequence(&sequence).unwrap();
            }
            builder.end_document();
        }
        builder.finish().unwrap();
        for end in ["bin", "idx"] {
            let ours = fs::read(folder.path(&format!("ours.{end}"))).unwrap();
            let theirs = fs::read(fixtures().join(format!("{name}.{end}"))).unwrap();
            assert_eq!(ours, theirs, "{name}.{end}");
        }
    }
}

#[test]
fn megatron_chooses_the_type_as_we_do() {
    assert_eq!(DType::optimal(65499), DType::U16);
    assert_eq!(DType::optimal(65500), DType::I32);
}

#[test]
fn a_pair_is_found_by_either_name_or_the_part_before() {
    let folder = Folder::new();
    for end in ["bin", "idx"] {
        let from = fixtures().join(format!("int32.{end}"));
        fs::copy(from, folder.path(&format!("v1.5.{end}"))).unwrap();
    }
    for name in ["v1.5", "v1.5.bin", "v1.5.idx"] {
        assert_eq!(Dataset::open(&folder.path(name)).unwrap().documents(), 4);
    }
    assert_eq!(pair(&folder.path("v1.5.txt")), None);
    assert_error(Dataset::open(&folder.path("v1")), &["not a Megatron dataset"]);
    fs::remove_file(folder.path("v1.5.idx")).unwrap();
    assert_error(Dataset::open(&folder.path("v1.5.bin")), &["cannot open", "v1.5.idx"]);
}

#[test]
fn a_builder_refuses_what_it_cannot_hold() {
    let folder = Folder::new();
    for (dtype, largest) in [
        (DType::U8, 255),
        (DType::I8, 127),
        (DType::I16, 32767),
        (DType::U16, 65535),
        (DType::I32, 2_147_483_647),
    ] {
        let mut builder = Builder::create(&folder.path("x"), dtype).unwrap();
        builder.add_sequence(&[largest]).unwrap();
        let message = format!("token id {} does not fit", largest + 1);
        assert_error(builder.add_sequence(&[1, largest + 1]), &[&message]);
    }
    let mut builder = Builder::create(&folder.path("x"), DType::I32).unwrap();
    builder.add_sequence(&[1]).unwrap();
    assert_error(builder.finish(), &["was not ended", "end_document"]);
    // Half a dataset is not one.
    assert_error(Dataset::open(&folder.path("x.bin")), &["cannot open", "x.idx"]);
    let nowhere = folder.path("no/folder");
    assert_error(Builder::create(&nowhere, DType::I32).map(drop), &["cannot write"]);
}

/// The fixture's pair, its bytes changed.
fn damaged(change: impl Fn(&mut Vec<u8>, &mut Vec<u8>)) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let mut idx = fs::read(fixtures().join("int32.idx")).unwrap();
    let mut bin = fs::read(fixtures().join("int32.bin")).unwrap();
    change(&mut idx, &mut bin);
    folder.write("d.idx", idx);
    folder.write("d.bin", bin);
    let path = folder.path("d.bin");
    (folder, path)
}

#[test]
fn a_damaged_index_is_an_error_that_says_why() {
    let put = |idx: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        idx[at..at + bytes.len()].copy_from_slice(bytes);
    };
    // Sequence lengths at 34, pointers at 66, document boundaries at 130.
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>, &mut Vec<u8>);
    let cases: [(Change, &[&str]); 18] = [
        (&|idx, _| idx.clear(), &["0 bytes", "truncated"]),
        (&|idx, _| put(idx, 0, b"PARQUET1"), &["PARQUET1", "not a Megatron index"]),
        (&|idx, _| put(idx, 9, &2u64.to_le_bytes()), &["version is 2", "expected 1"]),
        (&|idx, _| idx[17] = 7, &["floating-point"]),
        (&|idx, _| idx[17] = 0, &["unknown code 0"]),
        (&|idx, _| idx[17] = 9, &["unknown code 9"]),
        (&|idx, _| put(idx, 18, &[0xff; 8]), &["announces", "more than 2^64"]),
        (&|idx, _| put(idx, 26, &[0xff; 8]), &["announces", "more than 2^64"]),
        (&|idx, _| put(idx, 18, &(1u64 << 40).to_le_bytes()), &["announces"]),
        (&|idx, _| put(idx, 26, &0u64.to_le_bytes()), &["no document boundaries"]),
        (&|idx, _| idx.truncate(169), &["169 bytes", "take 170"]),
        (&|idx, _| idx.extend([0; 8]), &["multimodal"]),
        (&|idx, _| put(idx, 34, &(-1i32).to_le_bytes()), &["sequence 0 has -1 tokens"]),
        (&|idx, _| put(idx, 34, &i32::MAX.to_le_bytes()), &["sequence 0", "236 bytes"]),
        (&|idx, _| put(idx, 66, &i64::MAX.to_le_bytes()), &["sequence 0", "236 bytes"]),
        (&|idx, _| put(idx, 74, &(-4i64).to_le_bytes()), &["sequence 1", "byte -4"]),
        (
            &|idx, _| put(idx, 138, &7i64.to_le_bytes()),
            &["document 2", "expected 7 to 8"],
        ),
        (&|_, bin| bin.truncate(100), &["sequence 6", "100 bytes", "truncated"]),
    ];
    for (change, parts) in cases {
        let (_folder, path) = damaged(change);
        assert_error(Dataset::open(&path), parts);
    }
    let (_folder, path) = damaged(|idx, _| put(idx, 162, &6i64.to_le_bytes()));
    assert_error(Dataset::open(&path), &["ends at sequence 6 of 8"]);
    let (_folder, path) = damaged(|idx, _| put(idx, 130, &1i64.to_le_bytes()));
    assert_error(Dataset::open(&path), &["document 0 starts at sequence 1"]);
}

#[test]
fn no_damage_makes_it_panic() {
    let length = fs::metadata(fixtures().join("int32.idx")).unwrap().len() as usize;
    for cut in 0..length {
        let (_folder, path) = damaged(|idx, _| idx.truncate(cut));
        assert!(Dataset::open(&path).is_err(), "cut at {cut}");
    }
    let tokenizer = stories_tokenizer();
    let mut opened = 0;
    for at in 0..length {
        for mask in [1, 0x80, 0xff] {
            let (_folder, path) = damaged(|idx, _| idx[at] ^= mask);
            if let Ok(dataset) = Dataset::open(&path) {
                opened += 1;
                for index in 0..dataset.sequences() {
                    let _ = sequence(&dataset, index);
                }
                let _ = stream(&[&path], 1, &tokenizer);
            }
        }
    }
    assert!(opened > 0 && opened < 3 * length, "{opened}");
}

#[test]
fn each_document_ends_once() {
    let folder = Folder::new();
    let build = |name: &str, documents: &[&[&[u32]]]| {
        let mut builder = Builder::create(&folder.path(name), DType::U16).unwrap();
        for document in documents {
            for sequence in *document {
                builder.add_sequence(sequence).unwrap();
            }
            builder.end_document();
        }
        builder.finish().unwrap();
        stream(&[&folder.path(name)], 1, &Tokenizer::Bytes).unwrap()
    };
    let ended = build("ended", &[&[&[1, 2, 0]], &[&[3], &[4, 0]]]);
    assert_eq!(ended, [1, 2, 0, 3, 4, 0], "as they are");
    let bare = build("bare", &[&[&[1, 2]], &[], &[&[3], &[4], &[]], &[&[5]]]);
    assert_eq!(bare, [1, 2, 0, 3, 4, 0, 5, 0], "one after each that has tokens");
    let mixed = build("mixed", &[&[&[1, 0]], &[&[], &[2, 3]], &[&[4, 0]]]);
    assert_eq!(mixed, [1, 0, 2, 3, 0, 4, 0]);

    let fixture = fixtures().join("uint16.idx");
    let error = stream(&[&fixture], 1, &Tokenizer::Bytes);
    let parts = ["index 1 of sequence 2", "uint16.bin", "65499", "only 256 ids"];
    assert_error(error, &parts);
    let int8 = stream(&[&fixtures().join("int8")], 1, &Tokenizer::Bytes).unwrap();
    assert_eq!(
        int8[..20],
        [5, 6, 7, 8, 9, 0, 101, 127, 103, 104, 0, 11, 12, 13, 14, 15, 16, 17, 0, 1]
    );
}

#[test]
fn tokens_that_are_no_ids_are_named() {
    for (name, dtype) in TYPES {
        let folder = Folder::new();
        let read =
            |end: &str| fs::read(fixtures().join(format!("{name}.{end}"))).unwrap();
        let mut bin = read("bin");
        let size = dtype.size();
        bin[size..2 * size].fill(0xff);
        folder.write("d.idx", read("idx"));
        let dataset = Dataset::open(&folder.write("d.bin", bin)).unwrap();
        let read = sequence(&dataset, 0);
        match dtype {
            DType::U8 => assert_eq!(read.unwrap()[1], 255),
            DType::U16 => assert_eq!(read.unwrap()[1], 65535),
            _ => assert_error(
                read,
                &["index 1 of sequence 0", "is -1", "not a token id"],
            ),
        }
    }

    let folder = Folder::new();
    Builder::create(&folder.path("none"), DType::I32).unwrap().finish().unwrap();
    let error = stream(&[&folder.path("none")], 1, &stories_tokenizer());
    assert_error(error, &["none.bin", "no tokens"]);
}

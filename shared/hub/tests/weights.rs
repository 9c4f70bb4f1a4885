//! Reading weights: slices against wholes, conversions, and files nobody should trust.

mod common;

use std::fs;
use std::path::Path;

use common::{fixture, message, says, tiny, values, write_safetensors};
use half::{bf16, f16};
use hub::{Dtype, Family, Folder, Save, Weights};

fn open(folder: &Path) -> anyhow::Result<Weights> {
    Folder::open(folder.to_str().unwrap()).unwrap().weights()
}

/// The file's own arrangement, read without our code.
fn raw(name: &str) -> (Vec<u8>, serde_json::Value) {
    let file = fs::read(fixture(name).join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json = serde_json::from_slice(&file[8..8 + header]).unwrap();
    (file[8 + header..].to_vec(), json)
}

/// Every tensor of the fixtures is the configuration's, and is read bit for bit.
#[test]
fn fixtures_whole() {
    for name in ["llama", "qwen3"] {
        let folder = Folder::open(fixture(name).to_str().unwrap()).unwrap();
        let (weights, config) = (folder.weights().unwrap(), folder.config().unwrap());
        let mut expected: Vec<String> =
            config.tensors().into_iter().map(|t| t.name).collect();
        expected.sort();
        assert_eq!(weights.names().collect::<Vec<_>>(), expected, "{name}");
        let (bytes, header) = raw(name);
        for tensor in config.tensors() {
            let shape = weights.shape(&tensor.name).unwrap().to_vec();
            assert_eq!(shape, tensor.shape, "{}", tensor.name);
            assert_eq!(weights.dtype(&tensor.name), Some(Dtype::F32));
            let mut read = vec![0f32; shape.iter().product()];
            let origin = vec![0; shape.len()];
            weights.read(&tensor.name, &shape, &origin, &shape, &mut read).unwrap();
            let range = &header[&tensor.name]["data_offsets"];
            let (from, to) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
            let read: Vec<u8> = read.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(read, bytes[from as usize..to as usize], "{}", tensor.name);
        }
    }
}

/// Every part of tensors of every rank up to 4 is that part of the whole.
#[test]
fn slices() {
    for shape in [&[][..], &[5], &[3, 4], &[2, 3, 4], &[2, 1, 3, 2], &[0, 3], &[3, 0]] {
        let dir = tempfile::tempdir().unwrap();
        let elements: usize = shape.iter().product();
        let whole: Vec<f32> = (0..elements).map(|i| i as f32).collect();
        let header = format!(
            r#"{{"x":{{"dtype":"F32","shape":{shape:?},"data_offsets":[0,{}]}}}}"#,
            elements * 4
        );
        let bytes: Vec<u8> = whole.iter().flat_map(|v| v.to_le_bytes()).collect();
        write_safetensors(&dir.path().join("model.safetensors"), &header, &bytes);
        let weights = open(dir.path()).unwrap();
        for (offset, part) in parts(shape) {
            let mut read = vec![-1f32; part.iter().product()];
            weights.read("x", shape, &offset, &part, &mut read).unwrap();
            assert_eq!(
                read,
                slice(&whole, shape, &offset, &part),
                "{offset:?} {part:?}"
            );
        }
    }
}

/// Every (offset, shape) within a shape.
fn parts(shape: &[usize]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut found = vec![(vec![], vec![])];
    for &n in shape {
        let ranges =
            (0..=n).flat_map(|from| (0..=n - from).map(move |len| (from, len)));
        let ranges: Vec<_> = ranges.collect();
        found = found
            .iter()
            .flat_map(|(offset, part)| {
                ranges.iter().map(move |&(from, len)| {
                    ([&offset[..], &[from]].concat(), [&part[..], &[len]].concat())
                })
            })
            .collect();
    }
    found
}

/// The part by the definition, an index at a time.
fn slice(whole: &[f32], shape: &[usize], offset: &[usize], part: &[usize]) -> Vec<f32> {
    let inside = |mut flat: usize| {
        (0..shape.len()).rev().all(|i| {
            let index = flat % shape[i];
            flat /= shape[i];
            (offset[i]..offset[i] + part[i]).contains(&index)
        })
    };
    (0..whole.len()).filter(|&i| inside(i)).map(|i| whole[i]).collect()
}

/// From each type in a file to each type in memory.
#[test]
fn conversions() {
    let config = tiny(Family::Llama);
    let tensor = &config.tensors()[0];
    let exact = values(tensor);
    for dtype in [Dtype::F32, Dtype::F64, Dtype::BF16, Dtype::F16] {
        let dir = tempfile::tempdir().unwrap();
        common::save_values(dir.path(), &config, dtype);
        let weights = open(dir.path()).unwrap();
        assert_eq!(weights.dtype(&tensor.name), Some(dtype));
        let stored: Vec<f64> = exact
            .iter()
            .map(|&v| match dtype {
                Dtype::F32 | Dtype::F64 => v as f64,
                Dtype::BF16 => bf16::from_f32(v).to_f64(),
                Dtype::F16 => f16::from_f32(v).to_f64(),
            })
            .collect();
        let (shape, n) = (&tensor.shape, exact.len());
        let mut in_f64 = vec![0f64; n];
        weights.read(&tensor.name, shape, &[0, 0], shape, &mut in_f64).unwrap();
        assert_eq!(in_f64, stored, "{dtype:?}");
        let mut in_f32 = vec![0f32; n];
        weights.read(&tensor.name, shape, &[0, 0], shape, &mut in_f32).unwrap();
        assert!(in_f32.iter().zip(&stored).all(|(a, b)| *a as f64 == *b), "{dtype:?}");
        let mut in_bf16 = vec![bf16::ZERO; n];
        weights.read(&tensor.name, shape, &[0, 0], shape, &mut in_bf16).unwrap();
        let same = |(a, b): (&bf16, &f64)| *a == bf16::from_f32(*b as f32);
        assert!(in_bf16.iter().zip(&stored).all(same), "{dtype:?}");
        let mut in_f16 = vec![f16::ZERO; n];
        weights.read(&tensor.name, shape, &[0, 0], shape, &mut in_f16).unwrap();
        let same = |(a, b): (&f16, &f64)| *a == f16::from_f32(*b as f32);
        assert!(in_f16.iter().zip(&stored).all(same), "{dtype:?}");
    }
}

#[test]
fn asked_for_wrongly() {
    let weights = open(&fixture("llama")).unwrap();
    let name = "model.norm.weight";
    let mut out = vec![0f32; 64];
    let error =
        message(weights.read("model.nrom.weight", &[64], &[0], &[64], &mut out));
    says(
        &error,
        &["no tensor model.nrom.weight in", "names like it: model.norm.weight"],
    );
    let error = message(weights.read("ghost", &[64], &[0], &[64], &mut out));
    says(&error, &["no tensor ghost", "the first of its", "lm_head.weight"]);
    let error = message(weights.read(name, &[65], &[0], &[64], &mut out));
    says(&error, &["has shape [64]", "asks for [65]", "model.safetensors"]);
    for (offset, shape) in [
        (vec![1], vec![64]),
        (vec![usize::MAX], vec![2]),
        (vec![0, 0], vec![64, 1]),
        (vec![], vec![]),
    ] {
        let error = message(weights.read(name, &[64], &offset, &shape, &mut out));
        says(&error, &["is not within [64]"]);
    }
    let error = message(weights.read(name, &[64], &[0], &[63], &mut out));
    says(&error, &["has 63 elements, the buffer 64"]);

    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#;
    write_safetensors(&dir.path().join("model.safetensors"), header, &[0; 4]);
    let weights = open(dir.path()).unwrap();
    assert_eq!(weights.dtype("x"), None);
    let error = message(weights.read("x", &[4], &[0], &[4], &mut out[..4]));
    says(&error, &["F8_E4M3", "F32, BF16, F16 and F64 can be read"]);
}

/// Headers that lie. Each must be an error that names the file.
#[test]
fn hostile_headers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let f32 = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |tensor: String| format!(r#"{{"x":{tensor}}}"#);
    let two = |a: String, b: String| format!(r#"{{"x":{a},"y":{b}}}"#);
    let cases = [
        (one(f32("[2]", 0, 8)), 4, "need 8 bytes after the header, but only 4"),
        (one(f32("[2]", 0, 8)), 12, "4 bytes belong to no tensor"),
        (one(f32("[2]", 0, 12)), 12, "invalid shape, data type, or offset"),
        (one(f32("[2]", 4, 12)), 12, "invalid offset for tensor `x`"),
        (one(f32("[2]", 8, 0)), 8, "invalid offset for tensor `x`"),
        (two(f32("[2]", 0, 8), f32("[2]", 4, 12)), 12, "invalid offset for tensor `y`"),
        (
            two(f32("[2]", 0, 8), f32("[2]", 12, 20)),
            20,
            "invalid offset for tensor `y`",
        ),
        (two(f32("[2]", 0, 8), f32("[2]", 0, 8)), 8, "invalid offset for tensor"),
        (one(f32("[4611686018427387904,4]", 0, 8)), 8, "overflow"),
        (one(f32("[144115188075855872]", 0, 1 << 59)), 8, "need 576460752303423488"),
        (one(f32("[-1]", 0, 8)), 8, "invalid value"),
        (one(r#"{"dtype":"F99","shape":[2],"data_offsets":[0,8]}"#.into()), 8, "F99"),
        (one(r#"{"dtype":"F32","shape":[2]}"#.into()), 8, "missing field"),
        (
            two(f32("[2]", 0, 8), f32("[2]", 8, 16)).replace("\"y\"", "\"x\""),
            16,
            "names `x` twice",
        ),
        (
            two(f32("[2]", 0, 8), f32("[0]", 8, 8)).replace("\"y\"", "\"x\""),
            8,
            "names `x` twice",
        ),
        ("{\"x\":".into(), 8, "not sound JSON"),
        ("[]".into(), 0, "an object of tensors"),
        ("{\"\u{0}\":1}".into(), 0, "not sound JSON"),
        ("[".repeat(100_000), 0, "an object of tensors"),
        (format!("{{\"x\":{}", "[".repeat(100_000)), 0, "not sound JSON"),
        (
            format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            0,
            "recursion limit",
        ),
    ];
    for (header, bytes, part) in cases {
        write_safetensors(&path, &header, &vec![0; bytes]);
        says(&message(open(dir.path())), &["model.safetensors is not a sound", part]);
    }
}

/// Files that are not what they claim, down to every length of a truncated one.
#[test]
fn damaged_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    says(&message(open(dir.path())), &["has neither model.safetensors nor"]);
    let cases: [(&[u8], &str); 7] = [
        (b"", "it has 0 bytes, fewer than the 8"),
        (b"\x10\0\0", "it has 3 bytes, fewer than the 8"),
        (b"\x10\0\0\0\0\0\0\0{}", "said to have 16 bytes, but only 2 follow"),
        (&[255; 64], "said to have 18446744073709551615 bytes, but only 56"),
        (b"\x02\0\0\0\0\0\0\0\xff\xff", "its header is not UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer or a web"),
        (b"<!DOCTYPE html><html>", "a Git LFS pointer or a web page"),
    ];
    for (bytes, part) in cases {
        fs::write(&path, bytes).unwrap();
        says(&message(open(dir.path())), &["model.safetensors is not a sound", part]);
    }
    // A header of 99 GB in a sparse file of 100 GB: refused before anything is read.
    let file = fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut &file, &99_000_000_000u64.to_le_bytes()).unwrap();
    file.set_len(100_000_000_000).unwrap();
    says(&message(open(dir.path())), &["99000000000 bytes, more than the 100000000"]);
    drop(file);

    let small = tempfile::tempdir().unwrap();
    common::save_values(small.path(), &tiny(Family::Llama), Dtype::BF16);
    let whole = fs::read(small.path().join("model.safetensors")).unwrap();
    for length in (0..whole.len()).step_by(13) {
        fs::write(&path, &whole[..length]).unwrap();
        says(&message(open(dir.path())), &["model.safetensors is not a sound"]);
    }
    // A byte changed in the header: an error or other names, never a panic.
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in (0..8 + header).step_by(3) {
        let mut changed = whole.clone();
        changed[at] ^= 0x15;
        fs::write(&path, &changed).unwrap();
        let _ = open(dir.path()).map(|weights| {
            let names: Vec<String> = weights.names().map(str::to_owned).collect();
            for name in names {
                let shape = weights.shape(&name).unwrap().to_vec();
                let mut out = vec![0f32; shape.iter().product()];
                let origin = vec![0; shape.len()];
                let _ = weights.read(&name, &shape, &origin, &shape, &mut out);
            }
        });
    }
}

/// An index and shards that do not belong together.
#[test]
fn hostile_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny(Family::Qwen2);
    Save::new(dir.path(), Dtype::F32)
        .max_shard_bytes(1500)
        .write(&config, &config.tensors(), common::write_values)
        .unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    open(dir.path()).unwrap();

    let first = config.tensors()[0].name.clone();
    for name in ["../x.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b"] {
        let map = format!(r#"{{"weight_map": {{"{first}": "{name}"}}}}"#);
        fs::write(&index, map).unwrap();
        says(
            &message(open(dir.path())),
            &["index.json puts", "do not trust this folder"],
        );
    }
    let cases = [
        ("{}", "missing field `weight_map`"),
        ("[", "is not a safetensors index"),
        (r#"{"weight_map": {"a": 1}}"#, "is not a safetensors index"),
        (
            r#"{"weight_map": {"a": "model-00001-of-00009.safetensors"}}"#,
            "missing shard",
        ),
    ];
    for (map, part) in cases {
        fs::write(&index, map).unwrap();
        says(&message(open(dir.path())), &["model.safetensors.index.json", part]);
    }
    fs::write(&index, text.replace(&first, "model.ghost.weight")).unwrap();
    says(&message(open(dir.path())), &["model.ghost.weight", "does not hold it"]);

    fs::write(&index, text).unwrap();
    let mut shards: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    shards.sort();
    fs::remove_file(&shards[1]).unwrap();
    let name = shards[1].file_name().unwrap().to_str().unwrap();
    says(&message(open(dir.path())), &[name, "is not in the folder"]);
}

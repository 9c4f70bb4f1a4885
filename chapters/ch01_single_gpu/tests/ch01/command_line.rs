//! What the program says, and leaves alone, when something is wrong.
use crate::common::{fixture, program, said, shipped};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A run of two small steps.
const QUICK: [&str; 13] = [
    "--steps=2",
    "--seq-len=16",
    "--micro-batch=2",
    "--global-batch=4",
    "--validation-sequences=2",
    "--warmup=0",
    "--sample=8",
    "--threads=1",
    "--workers=1",
    "--validation-fraction=0.1",
    "--data",
    "random",
    "--seed=5",
];

/// Every file below `folder` with what it holds; a folder holds nothing.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            all.insert(name, vec![]);
            all.extend(contents(&path));
        } else {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

/// A folder with files that no failure may touch.
fn precious() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("saved")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::write(at("saved").join(name), format!("precious {name}")).unwrap();
    }
    fs::write(at("run.jsonl"), "precious records\n").unwrap();
    folder
}

/// The program, told to save into `saved` and to record in `run.jsonl` unless `flags`
/// say otherwise, ends with `status`, says all of `words`, and changes no file.
fn refuses(folder: &Path, flags: &[&str], status: i32, words: &[&str]) {
    let mut flags = flags.to_vec();
    for (flag, value) in [("--save", "saved"), ("--log", "run.jsonl")] {
        if !flags.contains(&flag) {
            flags.extend([flag, value]);
        }
    }
    let before = contents(folder);
    let output = program(folder, &flags).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(status), "{flags:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{flags:?}: expected {word:?} in: {text}");
    }
    assert!(text.contains("error: ") && !text.contains("--backtrace"), "{text}");
    let after = contents(folder);
    let names =
        |all: &BTreeMap<String, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "{flags:?}");
    assert!(after == before, "{flags:?} changed a file");
}

#[test]
fn broken_data_is_named() {
    let folder = precious();
    let at = folder.path();
    fs::write(at.join("empty.txt"), "").unwrap();
    fs::write(at.join("broken.jsonl"), "{\"text\": \"a\"}\n{\"text\": \n").unwrap();
    fs::write(at.join("other.jsonl"), "{\"text\": \"a\"}\n{\"body\": \"b\"}\n")
        .unwrap();
    fs::write(at.join("short.txt"), "just a few words").unwrap();
    fs::write(at.join("blob.txt"), b"text, then \xff\xfe").unwrap();
    let data = |file: &str, words: &[&str]| {
        refuses(at, &["--data", file], 1, words);
    };
    data("empty.txt", &["`empty.txt` is empty", "name another file"]);
    data("nowhere.txt", &["`nowhere.txt`", "check the path"]);
    data("broken.jsonl", &["broken.jsonl:2", "expected one object per line"]);
    data("other.jsonl", &["other.jsonl:2", "no \"text\"", "body", "rename"]);
    data("blob.txt", &["`blob.txt` is not UTF-8", "offset 11", "iconv"]);
    let words = ["15 tokens", "4001", "shorter seq_len"];
    refuses(at, &["--data", "short.txt", "--seq-len", "4000"], 1, &words);
    refuses(at, &["--data", "."], 1, &["`.` is a folder", "name the files in it"]);
    #[cfg(unix)]
    refuses(at, &["--data", "/dev/null"], 1, &["is a pipe or a device"]);
}

#[test]
fn impossible_flags_are_named() {
    let folder = precious();
    let refuses = |flags: &[&str], words: &[&str]| {
        refuses(folder.path(), flags, 1, words);
    };
    for flag in ["--steps", "--seq-len", "--micro-batch", "--global-batch"] {
        let words = [&format!("{flag} is 0"), "expected at least 1"];
        refuses(&[flag, "0"], &words);
    }
    let uneven = ["--micro-batch", "3", "--global-batch", "8"];
    refuses(
        &uneven,
        &["--global-batch 8", "multiple of --micro-batch 3", "9 would be"],
    );
    refuses(&["--lr", "NaN"], &["--lr is NaN", "expected a number"]);
    refuses(&["--lr", "-1"], &["--lr is -1", "at least 0"]);
    refuses(&["--weight-decay", "inf"], &["--weight-decay is inf", "at least 0"]);
    refuses(&["--max-grad-norm", "inf"], &["--max-grad-norm is inf", "at least 0"]);
    let fraction = ["--data", "random", "--validation-fraction", "1"];
    refuses(&fraction, &["fraction of 1", "expected 0", "below 1"]);
    refuses(&["--model", "nanoo"], &["--model nanoo", "nano, tiny", "org/name"]);
    refuses(&["--model", "./nanoo"], &["--model ./nanoo", "no folder ./nanoo"]);
    let tokenizer = ["--tokenizer", "nowhere.json"];
    refuses(&tokenizer, &["`nowhere.json`", "expected `bytes`, a tokenizer.json"]);
    // Sizes that no memory holds.
    let huge = u64::MAX.to_string();
    refuses(
        &["--global-batch", &huge, "--micro-batch", "2"],
        &["--global-batch", &huge],
    );
    let half = (u64::MAX / 2).to_string();
    refuses(&["--global-batch", &half, "--micro-batch", &half], &["at most"]);
    refuses(&["--threads", "100000"], &["--threads is 100000", "at most"]);
    refuses(&["--workers", "100000"], &["--workers is 100000", "at most"]);
}

#[test]
fn unknown_flags_and_values_are_clap_s_to_explain() {
    let folder = precious();
    let refuses = |flags: &[&str], words: &[&str]| {
        refuses(folder.path(), flags, 2, words);
    };
    refuses(&["--stepz", "3"], &["'--stepz'", "--steps", "--help"]);
    refuses(&["--steps", "many"], &["'many'", "--steps"]);
    refuses(&["--precision", "fp8"], &["'fp8'", "fp32, fp64"]);
}

#[test]
fn folders_that_cannot_be_written_are_found_before_training() {
    // Below a regular file, where even root can make nothing.
    let folder = precious();
    let refuses = |flags: &[&str], words: &[&str]| {
        refuses(folder.path(), &[&QUICK[..], flags].concat(), 1, words);
    };
    let words = ["run.jsonl/x cannot be written to", "choose another folder"];
    refuses(&["--save", "run.jsonl/x"], &words);
    let words = ["`run.jsonl/x.jsonl`", "choose another"];
    refuses(&["--log", "run.jsonl/x.jsonl"], &words);
    refuses(&["--log", "saved"], &["`saved`", "it is a folder", "name of a file"]);
    refuses(&["--tensorboard", "run.jsonl/x"], &["run.jsonl/x"]);
}

/// A copy of the fixture `llama`.
fn copied_model(folder: &Path) {
    fs::create_dir(folder.join("model")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        let to = folder.join("model").join(name);
        fs::copy(fixture("llama").join(name), to).unwrap();
    }
}

#[test]
fn broken_models_are_named() {
    let folder = precious();
    let at = folder.path();
    copied_model(at);
    let weights = at.join("model/model.safetensors");
    let sound = fs::read(&weights).unwrap();
    let refuses = |words: &[&str]| {
        let flags = [&QUICK[..], &["--model", "model"]].concat();
        refuses(at, &flags, 1, words);
    };

    // A tensor under another name, as long, so that all else stays sound.
    let name = b"model.layers.1.mlp.up_proj.weight";
    let place = sound.windows(name.len()).position(|w| w == name).unwrap();
    let mut renamed = sound.clone();
    renamed[place..place + name.len()]
        .copy_from_slice(b"model.layers.1.mlp.up_porj.weight");
    fs::write(&weights, &renamed).unwrap();
    let missing = std::str::from_utf8(name).unwrap();
    refuses(&[missing, "model/model.safetensors", "up_porj"]);

    // One less.
    let length = u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value =
        serde_json::from_slice(&sound[8..8 + length]).unwrap();
    let mut header = header.as_object().unwrap().clone();
    let end = |entry: &serde_json::Value| entry["data_offsets"][1].as_u64();
    let last = header.iter().max_by_key(|(_, entry)| end(entry)).unwrap().0.clone();
    let start = header.remove(&last).unwrap()["data_offsets"][0].as_u64().unwrap();
    let json = serde_json::to_vec(&header).unwrap();
    let mut fewer = (json.len() as u64).to_le_bytes().to_vec();
    fewer.extend(json);
    fewer.extend(&sound[8 + length..8 + length + start as usize]);
    fs::write(&weights, &fewer).unwrap();
    refuses(&[&last, "model/model.safetensors"]);

    // Cut short, in the bytes, the header and its length.
    for (keep, words) in [
        (sound.len() - 1, ["cut short", "download or save it again"]),
        (length, ["cut short", "download or save it again"]),
        (5, ["5 bytes", "cut short"]),
    ] {
        fs::write(&weights, &sound[..keep]).unwrap();
        refuses(&["model/model.safetensors is not a sound", words[0], words[1]]);
    }

    // Hostile headers: a length of 2^63 and more, a range past the end, a shape whose
    // product overflows, nonsense, a name twice, very deep nesting.
    let file = |header: &[u8], bytes: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend(vec![0; bytes]);
        file
    };
    let tensor = |shape: &str, end: &str| {
        let name = "model.norm.weight";
        format!(
            "{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\
             \"data_offsets\":[0,{end}]}}}}"
        )
    };
    let huge = u64::MAX.to_string();
    let half = (1_u64 << 63).to_string();
    let twice = tensor("[1]", "4");
    let twice = format!("{},{}", &twice[..twice.len() - 1], &twice[1..]);
    let hostile = [
        (u64::MAX.to_le_bytes().repeat(3), "cut short"),
        (file(tensor("[64]", &huge).as_bytes(), 256), ""),
        (file(tensor(&format!("[{half},2]"), "0").as_bytes(), 0), ""),
        (file(tensor("[64]", "256").as_bytes(), 255), "cut short"),
        (file(tensor("[64]", "256").as_bytes(), 999), "belong to no tensor"),
        (file(b"{\"a\": nonsense}", 0), "header"),
        (file(&[0xff; 40], 0), "not UTF-8"),
        (file(twice.as_bytes(), 4), "twice"),
        (file("[".repeat(100_000).as_bytes(), 0), "header"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "Git LFS"),
        (vec![], "0 bytes"),
    ];
    for (bytes, words) in hostile {
        fs::write(&weights, bytes).unwrap();
        refuses(&["model/model.safetensors is not a sound", words]);
    }

    fs::remove_file(&weights).unwrap();
    refuses(&["model", "model.safetensors", "it holds config.json"]);
}

#[test]
fn unsupported_configurations_are_named() {
    let folder = precious();
    let at = folder.path();
    copied_model(at);
    let path = at.join("model/config.json");
    let sound = fs::read_to_string(&path).unwrap();
    for (from, to, words) in [
        ("\"silu\"", "\"gelu\"", ["hidden_act", "gelu", "silu"]),
        ("\"llama\"", "\"mamba\"", ["model_type", "mamba", "llama"]),
        ("\"hidden_act\"", "\"hidden_axt\"", ["hidden_axt", "config.json", ""]),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", ["3", "4", ""]),
        (
            "\"hidden_size\": 64",
            "\"hidden_size\": 72",
            ["[256, 64]", "72", "one model"],
        ),
    ] {
        assert!(sound.contains(from), "{from}");
        fs::write(&path, sound.replace(from, to)).unwrap();
        refuses(at, &[&QUICK[..], &["--model", "model"]].concat(), 1, &words);
    }
}

/// A model is trained whole, or not at all.
#[test]
fn what_a_configuration_leaves_out_is_named() {
    let folder = precious();
    let at = folder.path();
    copied_model(at);
    let path = at.join("model/config.json");
    let sound = fs::read_to_string(&path).unwrap();
    let layers = "\"num_hidden_layers\": 3";
    assert!(sound.contains(layers));
    fs::write(&path, sound.replace(layers, "\"num_hidden_layers\": 2")).unwrap();
    let words = ["model.layers.2.", "8 other tensors", "of one model?"];
    let flags = [&QUICK[..], &["--model", "model"]].concat();
    refuses(at, &flags, 1, &words);
    let positions = "\"max_position_embeddings\": 128";
    assert!(sound.contains(positions), "{sound}");
    fs::write(&path, sound.replace(positions, "\"max_position_embeddings\": 15"))
        .unwrap();
    let words = ["--seq-len 16 is longer than the 15 tokens", "model was made for"];
    refuses(at, &flags, 1, &words);
    // A preset's name is the preset's.
    fs::rename(at.join("model"), at.join("nano")).unwrap();
    let words = ["--model nano is a preset", "write --model ./nano"];
    refuses(at, &[&QUICK[..], &["--model", "nano"]].concat(), 1, &words);
}

#[test]
fn a_tokenizer_must_fit_the_model() {
    let folder = precious();
    let (model, tokenizer) = (fixture("llama"), shipped("tokenizer.json"));
    let (model, tokenizer) = (model.to_str().unwrap(), tokenizer.to_str().unwrap());
    let flags = ["--model", model, "--tokenizer", tokenizer];
    let words = ["2048 tokens", "vocabulary 256", "choose the model's own tokenizer"];
    refuses(folder.path(), &flags, 1, &words);
    // Guessing one would train on wrong tokens without a word.
    let words = ["the folder has no tokenizer.json", "--tokenizer bytes"];
    refuses(folder.path(), &flags[..2], 1, &words);
}

#[test]
fn a_diverging_run_says_where_and_saves_what_was_sound() {
    let folder = tempfile::tempdir().unwrap();
    for precision in ["fp32", "fp64"] {
        let mut flags = QUICK.to_vec();
        flags[0] = "--steps=9";
        let log = format!("{precision}.jsonl");
        flags.extend(["--lr=1e30", "--precision", precision, "--save", "out"]);
        flags.extend(["--log", &log]);
        let output = program(folder.path(), &flags).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let log = runlog::read(&folder.path().join(log)).unwrap();
        let at = format!("error: step {}", log.steps.len() + 1);
        let words = ["no parameter was changed by this step", "A lower --lr"];
        for word in [&at, words[0], words[1]] {
            assert!(text.contains(word), "expected {word:?} in: {text}");
        }
        // Every step that was made was a sound one.
        assert!(log.last.is_none() && !log.steps.is_empty());
        let sound = |s: &runlog::Step| s.loss.is_finite() && s.grad_norm.is_finite();
        assert!(log.steps.iter().all(sound), "{:?}", log.steps);
        // What they made is kept.
        assert!(text.contains("saved the model in out, after step"), "{text}");
        let saved = hub::Folder::open(folder.path().join("out").to_str().unwrap());
        assert!(saved.unwrap().weights().is_ok());
    }
}

#[test]
fn it_says_in_which_micro_batch() {
    // A weight that is NaN: the first loss is.
    let folder = tempfile::tempdir().unwrap();
    copied_model(folder.path());
    let weights = folder.path().join("model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    let flags = [&QUICK[..], &["--model", "model"]].concat();
    let output = program(folder.path(), &flags).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: step 1, micro-batch 0: the loss is NaN"), "{text}");
}

#[test]
fn a_product_that_no_machine_has_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(folder.path(), &QUICK);
    let output = program.env("FERROTRON_GEMM", "mkl").output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in ["FERROTRON_GEMM=mkl", "one of auto"] {
        assert!(text.contains(word), "expected {word:?} in: {text}");
    }
}

/// A sample that nobody can read is no reason to panic, nor to lose the run.
#[test]
#[cfg(target_os = "linux")]
fn a_sample_that_cannot_be_shown_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("text.txt"), "The cat sat on the mat.\n".repeat(40)).unwrap();
    let flags = QUICK.map(|f| if f == "random" { "text.txt" } else { f });
    let mut program = program(at, &[&flags[..], &["--save", "out"]].concat());
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = program.stdout(full).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: cannot show the sample: No space left"), "{text}");
    assert!(at.join("out/model.safetensors").exists());
}

#[test]
fn what_should_work_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("text.txt"), "The cat sat on the mat.\n".repeat(40)).unwrap();
    let succeeds = |flags: &[&str], out: &str| {
        let output = program(at, flags).output().unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{flags:?}: {text}");
        assert!(text.contains("validation loss"), "{flags:?}: {text}");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(stdout.trim_start().starts_with(out), "{flags:?}: {stdout}");
        stdout
    };
    let file: Vec<&str> =
        QUICK.iter().map(|f| if *f == "random" { "text.txt" } else { f }).collect();
    // Random tokens teach nothing to show.
    assert_eq!(succeeds(&QUICK, ""), "");
    succeeds(&[&QUICK[..], &["--precision", "fp64"]].concat(), "");
    succeeds(
        &[&file[..], &["--tokenizer", "bytes", "--prompt", "Once "]].concat(),
        "Once ",
    );
    let empty = ["--isolate-documents", "--prompt", ""];
    assert!(!succeeds(&[&file[..], &empty].concat(), "").is_empty());
    let tokenizer = shipped("tokenizer.json");
    succeeds(&[&file[..], &["--tokenizer", tokenizer.to_str().unwrap()]].concat(), "");
    let model = fixture("llama");
    let model = ["--model", model.to_str().unwrap(), "--tokenizer", "bytes"];
    succeeds(&[&file[..], &model].concat(), "");
}

/// The log begins with the flags, as JSON.
#[test]
#[cfg(unix)]
fn a_name_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"model\xff");
    let folder = precious();
    let mut program = program(folder.path(), &QUICK);
    let output = program.arg("--save").arg(name).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: no log could hold these flags: path"), "{said}");
    assert!(fs::read_dir(folder.path()).unwrap().count() == 2, "it left something");
}

//! What ranks hold and send, beside closed forms.
use ch08_zero::zero::bytes_per_parameter;
use serde_json::Value;
use std::process::Command;

/// Runs the program; the records of its last step, and of its end.
fn records(flags: &[&str]) -> [Value; 2] {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ch08_zero"));
    command.args(["--threads=1", "--steps=3", "--quiet", "--data=random"]);
    command.args(["--sample=0", "--validation-sequences=0", "--seq-len=32"]);
    let output = command.args(flags).arg("--log").arg(&log).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{flags:?}: {said}");
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = |key: &str| lines.iter().rfind(|line| !line[key].is_null());
    [last("loss").unwrap().clone(), last("last").unwrap()["last"].clone()]
}

/// Elements of the flat buffers of `nano` with its shipped tokenizer, each filled up to
/// divide by `ranks`: the embedding's, a layer's, and that of the last norm and the
/// head, if there is one.
fn flats(ranks: usize) -> Vec<usize> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ch08_zero"))
        .args(["--quiet", "--steps=1", "--seq-len=32", "--validation-sequences=0"])
        .args(["--data=random", "--sample=0", "--threads=1", "--dp=1", "--save"])
        .arg(folder.path())
        .output();
    assert!(output.unwrap().status.success());
    let folder = hub::Folder::open(folder.path().to_str().unwrap()).unwrap();
    let config = folder.config().unwrap();
    let mut flats = vec![0; config.num_hidden_layers + 2];
    for tensor in config.tensors() {
        let flat = match tensor.name.split('.').collect::<Vec<_>>()[..] {
            [_, "embed_tokens", ..] => 0,
            [_, "layers", layer, ..] => 1 + layer.parse::<usize>().unwrap(),
            _ => config.num_hidden_layers + 1,
        };
        flats[flat] += tensor.elements();
    }
    flats.iter().map(|n| n.next_multiple_of(ranks)).collect()
}

#[test]
fn the_papers_row() {
    // 7.5 billion parameters on 64 ranks: 2 bytes for a value, 2 for a gradient, 12 for
    // the states. In GB, as the paper rounds them.
    let gigabytes = |stage| 7.5 * bytes_per_parameter(stage, 64, [2.0, 2.0, 12.0]);
    let rounded = [0, 1, 2, 3].map(|stage| (10.0 * gigabytes(stage)).round() / 10.0);
    assert_eq!(rounded, [120.0, 31.4, 16.6, 1.9]);
}

/// Values, gradients and states at the end of a step; in stage 3 there is more while a
/// layer works: itself and the next.
#[test]
fn a_rank_holds_what_the_closed_form_says() {
    for (precision, [value, gradient, states]) in
        [("fp32", [4.0, 4.0, 8.0]), ("bf16", [2.0, 4.0, 12.0])]
    {
        for ranks in [1, 2, 4] {
            let flats = flats(ranks);
            let all: usize = flats.iter().sum();
            for stage in 0..4 {
                let (dp, zero) = (ranks.to_string(), stage.to_string());
                let flags = ["--dp", &dp, "--zero", &zero, "--precision", precision];
                let [_, last] = records(&flags);
                for rank in 0..ranks {
                    let memory = &last["memory"][rank];
                    let live = |family: &str| memory[family]["live"].as_f64().unwrap();
                    let families = ["parameters", "gradients", "optimizer"];
                    let held: f64 = families.map(live).iter().sum();
                    let want = all as f64
                        * bytes_per_parameter(stage, ranks, [value, gradient, states]);
                    let off = held / want - 1.0;
                    let what = format!("{precision} {ranks} {stage} {rank}");
                    assert!(off.abs() < 0.02, "{what}: {held} of {want}");
                    // At the peak: two layers' values more.
                    let peak = memory["parameters"]["peak"].as_f64().unwrap();
                    let end = live("parameters");
                    let largest = *flats.iter().max().unwrap() as f64 * value;
                    let more = if stage == 3 { 2.0 * largest } else { 0.0 };
                    assert!(peak <= 1.02 * (end + more), "{what}: {peak}, {end}");
                    // Of gradients the own part, two buckets, and the tied embedding's,
                    // to which both ends of the model add.
                    let peak = memory["gradients"]["peak"].as_f64().unwrap();
                    let largest = flats[1..].iter().max().unwrap() * 2 + flats[0];
                    let share = all / ranks + largest;
                    let most = if stage >= 2 { share } else { all };
                    assert!(peak <= 1.02 * gradient * most as f64, "{what}: {peak}");
                }
            }
        }
    }
}

/// In elements, a ring of `n` ranks sends `n - 1` parts of a buffer to scatter or to
/// gather it, and twice as many to sum it everywhere.
#[test]
fn ranks_send_what_the_closed_form_says() {
    let n = 2;
    let flats = flats(n);
    let part =
        |flats: &[usize]| flats.iter().map(|len| len / n).sum::<usize>() * (n - 1);
    let all = part(&flats);
    for (precision, value, gradient) in [("fp32", 4, 4), ("bf16", 2, 4), ("fp64", 8, 8)]
    {
        for (micro_batch, micros) in [(8, 1), (4, 2), (1, 8)] {
            for stage in 0..4 {
                let micro_batch = micro_batch.to_string();
                let [last, _] = records(&[
                    "--zero",
                    &stage.to_string(),
                    "--precision",
                    precision,
                    "--micro-batch",
                    &micro_batch,
                ]);
                let sent = |family: &str| -> u64 {
                    let lines = last["comm"].as_array().unwrap();
                    let of = lines.iter().filter(|line| line["family"] == family);
                    of.map(|line| line["bytes"].as_u64().unwrap()).sum()
                };
                let times = if stage >= 2 { micros } else { 1 };
                let sums = if stage == 0 { 2 * all } else { all * times };
                assert_eq!(sent("gradients"), (sums * gradient) as u64);
                // Forward all, with a tied embedding twice; and all layers backward.
                let layers = &flats[1..flats.len() - 1];
                let gathers = match stage {
                    0 => 0,
                    1 | 2 => all,
                    _ => micros * (all + part(&flats[..1]) + part(layers)),
                };
                let what = format!("{precision} {micros} {stage}");
                assert_eq!(sent("parameters"), (gathers * value) as u64, "{what}");
            }
        }
    }
}

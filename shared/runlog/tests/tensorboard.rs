//! The event file's frames and fields, taken apart again. Whether TensorBoard agrees is
//! for `check_tensorboard.py` beside this file.

use runlog::{Events, Last, Options, RunLog, Step, crc32c};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn crc32c_gives_the_published_values() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    let rising: Vec<u8> = (0..32).collect();
    assert_eq!(crc32c(&rising), 0x46DD_794E);
    assert_eq!(crc32c(b""), 0);
}

/// The frames' data; panics on a wrong length or CRC.
fn frames(mut file: &[u8]) -> Vec<Vec<u8>> {
    let masked = |data: &[u8]| {
        let crc = crc32c(data);
        crc.rotate_right(15).wrapping_add(0xA282_EAD8)
    };
    let mut frames = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(file[8..12], masked(&file[..8]).to_le_bytes());
        let data = &file[12..12 + length];
        assert_eq!(file[12 + length..16 + length], masked(data).to_le_bytes());
        frames.push(data.to_vec());
        file = &file[16 + length..];
    }
    frames
}

/// A protobuf message's fields in order: number and raw value.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                let value = varint(&mut message);
                fields.push((key >> 3, value.to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            wire => panic!("wire type {wire}"),
        };
        fields.push((key >> 3, message[..length].to_vec()));
        message = &message[length..];
    }
    fields
}

type Scalars = BTreeMap<String, f32>;

/// Step and scalars of every event but the first.
fn events(folder: &Path) -> Vec<(u64, Scalars)> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert_eq!(files.len(), 1);
    let path = files.pop().unwrap().unwrap().path();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    let frames = frames(&fs::read(&path).unwrap());
    let first = fields(&frames[0]);
    assert_eq!(first[1], (3, b"brain.Event:2".to_vec()));
    frames[1..].iter().map(|frame| event(&fields(frame))).collect()
}

fn event(event: &[(u64, Vec<u8>)]) -> (u64, Scalars) {
    let [(1, time), (2, step), (5, summary)] = event else { panic!("{event:?}") };
    let time = f64::from_le_bytes(time[..].try_into().unwrap());
    assert!(time > 1.7e9, "seconds since 1970: {time}");
    let step = u64::from_le_bytes(step[..].try_into().unwrap());
    let scalars = fields(summary).into_iter().map(|(number, value)| {
        assert_eq!(number, 1);
        let value = fields(&value);
        let [(1, tag), (2, number)] = &value[..] else { panic!("{value:?}") };
        let number = f32::from_le_bytes(number[..].try_into().unwrap());
        (String::from_utf8(tag.clone()).unwrap(), number)
    });
    (step, scalars.collect())
}

#[test]
fn every_step_is_an_event_with_its_scalars() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = RunLog::start(Options {
        steps: 1 << 40,
        flops_per_token: 1e6,
        peak_flops: 1e10,
        tensorboard: Some(folder.path().join("a/b")),
        quiet: true,
        ..Options::default()
    })
    .unwrap();
    // Numbers of one, two and many varint bytes.
    for step in [1, 127, 128, 300, 1 << 40] {
        let mut report = Step {
            step,
            loss: 2.5,
            grad_norm: f64::INFINITY,
            tokens: 1000,
            seconds: 0.5,
            bytes_peak: 1 << 30,
            ..Step::default()
        };
        report.extra.insert("loss_scale".into(), 65536.into());
        report.extra.insert("note".into(), "not a number".into());
        log.step(&report).unwrap();
    }
    log.finish(&Last { steps: 1 << 40, val_loss: Some(3.0), ..Last::default() })
        .unwrap();
    let events = events(&folder.path().join("a/b"));
    let steps: Vec<u64> = events.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [1, 127, 128, 300, 1 << 40, 1 << 40]);
    let expected = [
        ("extra/loss_scale", 65536.0),
        ("memory/peak_bytes", (1 << 30) as f32),
        ("train/grad_norm", f32::INFINITY),
        ("train/loss", 2.5),
        ("train/lr", 0.0),
        ("train/mfu", 0.2),
        ("train/tokens_per_second", 2000.0),
    ];
    let expected: Scalars = expected.map(|(tag, x)| (tag.to_string(), x)).into();
    assert!(events[..5].iter().all(|(_, scalars)| *scalars == expected), "{events:?}");
    assert_eq!(events[5].1, Scalars::from([("validation/loss".into(), 3.0)]));
}

#[test]
fn two_runs_in_one_second_have_a_file_each() {
    let folder = tempfile::tempdir().unwrap();
    let both = [Events::create(folder.path()), Events::create(folder.path())];
    assert!(both.iter().all(Result::is_ok));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

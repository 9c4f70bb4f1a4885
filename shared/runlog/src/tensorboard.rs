//! TensorBoard's event files, written by hand.
//!
//! A file is a sequence of TFRecords (TensorFlow, `core/lib/io/record_writer.cc`):
//! length (u64), masked CRC of the length (u32), data, masked CRC of the data (u32),
//! all little-endian. The data is an `Event` protobuf (`core/util/event.proto`):
//! `wall_time` = 1 (double), `step` = 2 (varint), `file_version` = 3 (string),
//! `summary` = 5; a `Summary` has `value` = 1, repeated, with `tag` = 1 (string) and
//! `simple_value` = 2 (float). `tests/check_tensorboard.py` has TensorBoard read one.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// An event file being written.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Makes a new event file in a folder, and the folder if need be.
    ///
    /// # Errors
    /// A folder or file that cannot be made or written.
    pub fn create(folder: &Path) -> Result<Events> {
        let cannot = || {
            let folder = folder.display();
            format!("cannot write TensorBoard events to the folder `{folder}`")
        };
        fs::create_dir_all(folder).with_context(cannot)?;
        let (path, file) = new_file(folder).with_context(cannot)?;
        let mut events = Events { path, file };
        let mut event = wall_time();
        bytes(&mut event, 3, b"brain.Event:2");
        events.write(&frame(&event))?;
        Ok(events)
    }

    /// Adds scalars of one step. TensorBoard keeps them as f32. They are in the file
    /// when this returns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn scalars(
        &mut self,
        step: u64,
        scalars: impl Iterator<Item = (String, f64)>,
    ) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut scalar = Vec::new();
            bytes(&mut scalar, 1, tag.as_bytes());
            scalar.push(key(2, FOUR_BYTES));
            scalar.extend((value as f32).to_le_bytes());
            bytes(&mut summary, 1, &scalar);
        }
        let mut event = wall_time();
        event.push(key(2, VARINT));
        varint(&mut event, step);
        bytes(&mut event, 5, &summary);
        self.write(&frame(&event))
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write to the events `{}`", self.path.display());
        self.file.write_all(frame).with_context(cannot)
    }
}

/// The name TensorBoard looks for; the last part keeps two of one second apart.
fn new_file(folder: &Path) -> std::io::Result<(PathBuf, File)> {
    let (seconds, process) = (now() as u64, std::process::id());
    let mut n = 0;
    loop {
        let name = format!("events.out.tfevents.{seconds}.ferrotron.{process}.{n}");
        let path = folder.join(name);
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => n += 1,
            result => return Ok((path, result?)),
        }
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut frame = Vec::with_capacity(data.len() + 16);
    frame.extend(length);
    frame.extend(masked(crc32c(&length)).to_le_bytes());
    frame.extend(data);
    frame.extend(masked(crc32c(data)).to_le_bytes());
    frame
}

// Protobuf's wire types.
const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const LENGTH: u8 = 2;
const FOUR_BYTES: u8 = 5;

fn key(field: u8, wire: u8) -> u8 {
    field << 3 | wire
}

fn wall_time() -> Vec<u8> {
    let mut event = vec![key(1, EIGHT_BYTES)];
    event.extend(now().to_le_bytes());
    event
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, data: &[u8]) {
    out.push(key(field, LENGTH));
    varint(out, data.len() as u64);
    out.extend(data);
}

/// TFRecord's mask, so that a CRC of data holding CRCs is not fooled.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
pub fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8);
    !data.iter().fold(!0, step)
}

static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
            crc = crc >> 1 ^ carry;
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

//! Reads a model folder and saves it again, tensor by tensor.
//!
//! `cargo run -p hub --example resave -- FROM TO [F32|BF16|F16|F64 [MAX_SHARD_BYTES]]`

use std::path::Path;

use anyhow::{Context, Result, bail};
use hub::{DEFAULT_SHARD_BYTES, Dtype, Folder, Save};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, options @ ..] = args.as_slice() else {
        bail!("two folders are expected, to read from and to write to");
    };
    let dtype = match options.first().map(String::as_str) {
        None | Some("F32") => Dtype::F32,
        Some("BF16") => Dtype::BF16,
        Some("F16") => Dtype::F16,
        Some("F64") => Dtype::F64,
        Some(other) => bail!("{other} is no dtype; F32, BF16, F16 or F64 is expected"),
    };
    let max_shard_bytes = match options.get(1) {
        Some(bytes) => {
            bytes.parse().with_context(|| format!("{bytes} is no number"))?
        }
        None => DEFAULT_SHARD_BYTES,
    };

    let folder = Folder::open(from)?;
    let (config, weights) = (folder.config()?, folder.weights()?);
    let mut save = Save::new(Path::new(to), dtype).max_shard_bytes(max_shard_bytes);
    if folder.tokenizer().is_some() {
        save = save.tokenizer(folder.path());
    }
    save.write(&config, &config.tensors(), |tensor, out| {
        let mut whole = vec![0f64; tensor.shape.iter().product()];
        let origin = vec![0; tensor.shape.len()];
        weights.read(
            &tensor.name,
            &tensor.shape,
            &origin,
            &tensor.shape,
            &mut whole,
        )?;
        out.write(&whole)
    })?;
    println!("{to}: {} parameters as {dtype:?}", config.parameters());
    Ok(())
}

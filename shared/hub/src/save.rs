//! Saving a model in Hugging Face form, one tensor at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::config::{ModelConfig, TensorSpec};
use crate::scalar::{Dtype, Scalar, encode};
use crate::temporary::{Temporary, check_writable};
use crate::tokenizer::copy_tokenizer;
use crate::weights::{INDEX, SINGLE};

/// A shard's size unless said otherwise, as in transformers: 5 GB.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// Elements that are converted at a time.
const CHUNK: usize = 1 << 16;

/// Saves `config` and its weights as `dtype` with the defaults of [`Save`].
///
/// # Errors
/// See [`Save::write`].
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    dtype: Dtype,
    tensors: &[TensorSpec],
    write: impl FnMut(&TensorSpec, &mut TensorWriter) -> Result<()>,
) -> Result<()> {
    Save::new(folder, dtype).write(config, tensors, write)
}

/// How and where to save.
#[derive(Clone, Debug)]
pub struct Save {
    folder: PathBuf,
    dtype: Dtype,
    max_shard_bytes: u64,
    tokenizer: Option<PathBuf>,
}

impl Save {
    /// Into this folder, weights as `dtype`, in shards of at most 5 GB.
    pub fn new(folder: &Path, dtype: Dtype) -> Self {
        Self {
            folder: folder.to_owned(),
            dtype,
            max_shard_bytes: DEFAULT_SHARD_BYTES,
            tokenizer: None,
        }
    }

    /// Begins another shard rather than exceed this, unless one tensor does by itself.
    pub fn max_shard_bytes(mut self, bytes: u64) -> Self {
        self.max_shard_bytes = bytes;
        self
    }

    /// Copies the tokenizer too: from a `tokenizer.json`, or a folder with the files of
    /// one (see [`copy_tokenizer`]).
    pub fn tokenizer(mut self, from: &Path) -> Self {
        self.tokenizer = Some(from.to_owned());
        self
    }

    /// Writes `config.json`, `model.safetensors` (or shards and their index) and the
    /// tokenizer. `tensors` are the model's ([`ModelConfig::tensors`]) in any order;
    /// `write` is called for each in turn and hands over its elements, so that no more
    /// than a piece of one tensor need exist twice.
    ///
    /// Everything is written under temporary names first and renamed when complete:
    /// until then an older model in the folder stays whole, and whatever happens, no
    /// file with a final name is half a file. Weights of the older model that the new
    /// one does not replace are removed last.
    ///
    /// # Errors
    /// A tensor that the model does not have, or lacks, or of another shape; too few or
    /// too many elements from `write`, or its own error; a folder or disk that refuses.
    pub fn write(
        &self,
        config: &ModelConfig,
        tensors: &[TensorSpec],
        mut write: impl FnMut(&TensorSpec, &mut TensorWriter) -> Result<()>,
    ) -> Result<()> {
        config.validate()?;
        check_complete(config, tensors)?;
        check_writable(&self.folder)?;

        let shards = self.shards(tensors);
        let mut complete = vec![];
        let mut weight_files = vec![];
        let mut weight_map = BTreeMap::new();
        for (i, shard) in shards.iter().enumerate() {
            let name = match shards.len() {
                1 => SINGLE.to_string(),
                n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
            };
            weight_map.extend(shard.iter().map(|t| (&t.name, name.clone())));
            complete.push(self.write_shard(&name, shard, &mut write)?);
            weight_files.push(name);
        }
        if shards.len() > 1 {
            let total_size: u64 = tensors.iter().map(|t| self.bytes(t)).sum();
            let metadata = json!({
                "total_size": total_size,
                "total_parameters": config.parameters(),
            });
            let index = json!({ "metadata": metadata, "weight_map": weight_map });
            complete.push(self.write_json(INDEX, &index)?);
            weight_files.push(INDEX.to_string());
        }
        let mut config = config.to_map();
        config.insert("dtype".to_string(), json!(self.dtype.torch_name()));
        config.insert("torch_dtype".to_string(), json!(self.dtype.torch_name()));
        complete.push(self.write_json("config.json", &Value::Object(config))?);
        if let Some(from) = &self.tokenizer {
            copy_tokenizer(from, &self.folder)?;
        }
        for file in complete {
            file.publish()?;
        }
        self.remove_stale_weights(&weight_files)
    }

    fn bytes(&self, tensor: &TensorSpec) -> u64 {
        tensor.shape.iter().product::<usize>() as u64 * self.dtype.bytes() as u64
    }

    /// Fills shard after shard in the given order.
    fn shards<'a>(&self, tensors: &'a [TensorSpec]) -> Vec<Vec<&'a TensorSpec>> {
        let mut shards = vec![vec![]];
        let mut size = 0;
        for tensor in tensors {
            let bytes = self.bytes(tensor);
            if size > 0 && size + bytes > self.max_shard_bytes {
                shards.push(vec![]);
                size = 0;
            }
            size += bytes;
            if let Some(shard) = shards.last_mut() {
                shard.push(tensor);
            }
        }
        shards
    }

    fn write_shard(
        &self,
        name: &str,
        tensors: &[&TensorSpec],
        write: &mut impl FnMut(&TensorSpec, &mut TensorWriter) -> Result<()>,
    ) -> Result<Temporary> {
        let mut file = Temporary::create(&self.folder.join(name))?;
        let header = self.header(tensors);
        file.write(&(header.len() as u64).to_le_bytes())?;
        file.write(header.as_bytes())?;
        for tensor in tensors {
            let mut writer = TensorWriter {
                file: &mut file,
                dtype: self.dtype,
                name: &tensor.name,
                left: tensor.shape.iter().product(),
                bytes: vec![],
            };
            write(tensor, &mut writer).with_context(|| {
                format!("{} was not saved: {}", self.folder.display(), tensor.name)
            })?;
            ensure!(
                writer.left == 0,
                "{}: {} elements of {:?} were not written",
                tensor.name,
                writer.left,
                tensor.shape
            );
        }
        file.finish()?;
        Ok(file)
    }

    /// The safetensors header, padded with spaces so that the tensors start at a
    /// multiple of 8 bytes. `format` tells transformers that torch's layout is meant.
    fn header(&self, tensors: &[&TensorSpec]) -> String {
        let mut header = r#"{"__metadata__":{"format":"pt"}"#.to_string();
        let mut offset = 0;
        for tensor in tensors {
            let end = offset + self.bytes(tensor);
            let info = json!({
                "dtype": self.dtype.safetensors_name(),
                "shape": tensor.shape,
                "data_offsets": [offset, end],
            });
            header += &format!(",{}:{info}", json!(tensor.name));
            offset = end;
        }
        header.push('}');
        let padding = header.len().next_multiple_of(8) - header.len();
        header + &" ".repeat(padding)
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<Temporary> {
        let mut file = Temporary::create(&self.folder.join(name))?;
        file.write(serde_json::to_string_pretty(value)?.as_bytes())?;
        file.write(b"\n")?;
        file.finish()?;
        Ok(file)
    }

    /// Weights of a model that was here before: a left-over `model.safetensors` would
    /// be loaded in place of new shards.
    fn remove_stale_weights(&self, written: &[String]) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let weights = name == SINGLE || name == INDEX || is_shard(&name);
            if weights && !written.contains(&name) {
                let path = self.folder.join(&name);
                fs::remove_file(&path).with_context(|| {
                    format!("cannot remove {}, of an older model", path.display())
                })?;
            }
        }
        Ok(())
    }
}

/// Whether a file name has the form `model-00001-of-00002.safetensors`.
fn is_shard(name: &str) -> bool {
    let digits =
        |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix("model-")
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .and_then(|rest| rest.split_once("-of-"))
        .is_some_and(|(shard, shards)| digits(shard) && digits(shards))
}

/// Takes one tensor's elements, row-major, in as many pieces as is convenient.
pub struct TensorWriter<'a> {
    file: &'a mut Temporary,
    dtype: Dtype,
    name: &'a str,
    /// Elements that have not been written yet.
    left: usize,
    bytes: Vec<u8>,
}

impl TensorWriter<'_> {
    /// Appends the next elements, converted to the file's dtype.
    ///
    /// # Errors
    /// More elements than the tensor has, one that is not finite, or a disk that
    /// refuses.
    pub fn write<T: Scalar>(&mut self, values: &[T]) -> Result<()> {
        self.left = self.left.checked_sub(values.len()).ok_or_else(|| {
            anyhow!(
                "{}: {} elements more than its shape has",
                self.name,
                values.len() - self.left
            )
        })?;
        for values in values.chunks(CHUNK) {
            // Nobody could go on with it, and it would replace an older model.
            ensure!(
                values.iter().all(|value| value.to::<f64>().is_finite()),
                "{} has numbers that are not finite: this model is of no use, and no \
                 older one is replaced by it",
                self.name
            );
            self.bytes.clear();
            encode(self.dtype, values, &mut self.bytes);
            self.file.write(&self.bytes)?;
        }
        Ok(())
    }
}

/// Exactly the model's tensors, each once: anything else would not load.
fn check_complete(config: &ModelConfig, tensors: &[TensorSpec]) -> Result<()> {
    let expected = config.tensors();
    let mut missing: BTreeMap<&str, &[usize]> =
        expected.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    for tensor in tensors {
        let name = &tensor.name;
        match missing.remove(name.as_str()) {
            Some(shape) => ensure!(
                shape == tensor.shape,
                "{name} to be saved has shape {:?}; the configuration asks for \
                 {shape:?}",
                tensor.shape
            ),
            None if name == "lm_head.weight" && config.tie_word_embeddings => bail!(
                "lm_head.weight is not to be saved: the head is tied to the embedding"
            ),
            None => bail!("{name} to be saved is given twice, or not of this model"),
        }
    }
    if let Some((name, _)) = missing.first_key_value() {
        bail!(
            "{} of the model's tensors are not to be saved; {name} first",
            missing.len()
        );
    }
    Ok(())
}

//! The weights of a folder: one safetensors file or several shards behind an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use anyhow::{Context, Result, anyhow, bail, ensure};
use safetensors::tensor::TensorInfo;
use serde::Deserialize;

use crate::config::ModelConfig;
use crate::folder::{listing, read_small};
use crate::header::SafetensorsFile;
use crate::nearest::nearest;
use crate::scalar::{Dtype, Scalar, decode};

/// The one file, where the weights fit into one.
pub(crate) const SINGLE: &str = "model.safetensors";
/// Which tensor is in which shard, where they do not.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// An index of half a million tensors takes less than this many bytes.
const MAX_INDEX_BYTES: u64 = 100_000_000;

/// Memory-mapped weights, looked up by Hugging Face name.
///
/// Nothing is read until [`Weights::read`] asks for a slice, and then only its pages.
#[derive(Debug)]
pub struct Weights {
    /// The files, headers checked.
    files: Vec<SafetensorsFile>,
    /// Each tensor's file, by name.
    tensors: BTreeMap<String, usize>,
}

impl Weights {
    /// Opens `model.safetensors`, or the index and every shard it names.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        if folder.join(SINGLE).exists() {
            let file = SafetensorsFile::open(&folder.join(SINGLE))?;
            let tensors = file.names().into_iter().map(|name| (name, 0)).collect();
            return Ok(Self { files: vec![file], tensors });
        }
        ensure!(
            folder.join(INDEX).exists(),
            "{} has neither {SINGLE} nor {INDEX}; it holds {}. Weights in another \
             format must be saved as safetensors first (transformers: save_pretrained)",
            folder.display(),
            listing(folder)
        );
        let mut weights = Self { files: vec![], tensors: BTreeMap::new() };
        let mut opened = BTreeMap::new();
        for (name, shard) in read_index(&folder.join(INDEX))? {
            let file = match opened.get(&shard) {
                Some(&file) => file,
                None => {
                    let path = folder.join(&shard);
                    ensure!(
                        path.exists(),
                        "{} puts {name} into {shard}, which is not in the folder: \
                         download or copy the missing shard",
                        folder.join(INDEX).display()
                    );
                    weights.files.push(SafetensorsFile::open(&path)?);
                    opened.insert(shard.clone(), weights.files.len() - 1);
                    weights.files.len() - 1
                }
            };
            ensure!(
                weights.files[file].info(&name).is_some(),
                "{} puts {name} into {shard}, which does not hold it: the index and \
                 the shards are not of one model",
                folder.join(INDEX).display()
            );
            weights.tensors.insert(name, file);
        }
        Ok(weights)
    }

    /// Checks that a model of `config` has a place for every tensor: who leaves some
    /// out trains another model than the files hold.
    ///
    /// # Errors
    /// There is none for some; says which is the first.
    pub fn check_all_used(&self, config: &ModelConfig) -> Result<()> {
        let used = config.tensors().into_iter().map(|tensor| tensor.name);
        let used: BTreeSet<String> = used.collect();
        // What is known without a file, or is there twice.
        let known = |name: &str| {
            name.ends_with("rotary_emb.inv_freq")
                || config.tie_word_embeddings && name == "lm_head.weight"
        };
        let mut more =
            self.names().filter(|name| !used.contains(*name) && !known(name));
        // What is missing says more about a wrong name, and does when it is read.
        let complete = used.iter().all(|name| self.find(name).is_some());
        if let Some(first) = more.next().filter(|_| complete) {
            bail!(
                "the weights hold {first} and {} other tensors for which the model's \
                 configuration has no place: are config.json and the weights of one \
                 model?",
                more.count()
            );
        }
        Ok(())
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's global shape, if the files hold it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.find(name)?.1.shape)
    }

    /// A tensor's element type in the file; `None` if there is no such tensor, or its
    /// type is none that can be read (integers, FP8).
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        Dtype::from_safetensors(self.find(name)?.1.dtype)
    }

    /// Copies the part of `name` that starts at `offset` and has `shape` into `out`
    /// (row-major), converted from the file's F32, BF16, F16 or F64. Only these bytes
    /// of the file are read.
    ///
    /// # Errors
    /// No such tensor (with names that resemble it), a shape in the file other than
    /// `global_shape`, a part that is not within it, an `out` of another length, an
    /// element type that cannot be read.
    pub fn read<T: Scalar>(
        &self,
        name: &str,
        global_shape: &[usize],
        offset: &[usize],
        shape: &[usize],
        out: &mut [T],
    ) -> Result<()> {
        let (file, info) = self.find(name).ok_or_else(|| self.missing(name))?;
        let context = || format!("{name} in {}", file.path.display());
        let dtype = Dtype::from_safetensors(info.dtype).with_context(|| {
            format!(
                "{} has elements of type {:?}; F32, BF16, F16 and F64 can be read",
                context(),
                info.dtype
            )
        })?;
        ensure!(
            info.shape == global_shape,
            "{} has shape {:?}, but the model's configuration asks for \
             {global_shape:?}: are config.json and the weights of one model?",
            context(),
            info.shape
        );
        let rank = global_shape.len();
        let inside = offset.len() == rank
            && shape.len() == rank
            && (0..rank).all(|i| {
                offset[i]
                    .checked_add(shape[i])
                    .is_some_and(|end| end <= global_shape[i])
            });
        ensure!(
            inside,
            "{}: the part at {offset:?} of shape {shape:?} is not within \
             {global_shape:?}",
            context()
        );
        let elements: usize = shape.iter().product();
        ensure!(
            out.len() == elements,
            "{}: a part of shape {shape:?} has {elements} elements, the buffer {}",
            context(),
            out.len()
        );
        for (run, out) in runs(global_shape, offset, shape).zip_chunks(out) {
            let width = dtype.bytes();
            let range = run * width..(run + out.len()) * width;
            let bytes = file
                .bytes(info, range)
                .ok_or_else(|| anyhow!("{}: bytes out of range", context()))?;
            decode(dtype, bytes, out);
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(&SafetensorsFile, &TensorInfo)> {
        let file = self.files.get(*self.tensors.get(name)?)?;
        Some((file, file.info(name)?))
    }

    /// The error for a name that the files do not hold.
    fn missing(&self, name: &str) -> anyhow::Error {
        let files = match self.files.as_slice() {
            [file] => file.path.display().to_string(),
            [first, ..] => {
                format!(
                    "{} and {} more shards",
                    first.path.display(),
                    self.files.len() - 1
                )
            }
            [] => "an index that names no tensor".to_string(),
        };
        let similar = nearest(name, self.names());
        let hint = match similar.as_slice() {
            [] => {
                let first: Vec<&str> = self.names().take(3).collect();
                format!("the first of its {}: {}", self.tensors.len(), first.join(", "))
            }
            similar => format!("names like it: {}", similar.join(", ")),
        };
        anyhow!("no tensor {name} in {files}; {hint}")
    }
}

/// The contiguous runs of a part of a row-major tensor.
struct Runs<'a> {
    global: &'a [usize],
    offset: &'a [usize],
    shape: &'a [usize],
    /// Leading dimensions that are walked one index at a time.
    outer: usize,
    /// Elements of a run.
    length: usize,
}

/// Trailing dimensions that are taken whole join the run.
fn runs<'a>(global: &'a [usize], offset: &'a [usize], shape: &'a [usize]) -> Runs<'a> {
    let mut outer = global.len();
    let mut length = 1;
    while outer > 0 {
        outer -= 1;
        length *= shape[outer];
        if shape[outer] != global[outer] {
            break;
        }
    }
    Runs { global, offset, shape, outer, length }
}

impl<'a> Runs<'a> {
    /// Each run's first element in the tensor, with the piece of `out` it fills.
    fn zip_chunks<T>(
        self,
        out: &'a mut [T],
    ) -> impl Iterator<Item = (usize, &'a mut [T])> {
        let length = self.length.max(1); // `out` is empty where it is 0
        out.chunks_mut(length).enumerate().map(move |(run, out)| (self.start(run), out))
    }

    /// The first element of the run'th run.
    fn start(&self, mut run: usize) -> usize {
        let (mut start, mut stride) = (0, 1);
        for i in (0..self.global.len()).rev() {
            let mut index = self.offset[i];
            if i < self.outer {
                index += run % self.shape[i];
                run /= self.shape[i];
            }
            start += index * stride;
            stride *= self.global[i];
        }
        start
    }
}

/// Tensor name → shard file name, every file name checked to stay in the folder.
pub(crate) fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let text = read_small(path, MAX_INDEX_BYTES)?;
    let index: Index = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a safetensors index", path.display()))?;
    for (name, shard) in &index.weight_map {
        let mut components = Path::new(shard).components();
        let plain = matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(_)), None)
        );
        if !plain || shard.contains(['/', '\\', '\0']) {
            bail!(
                "{} puts {name} into {shard:?}; a plain file name of the same folder \
                 is expected: do not trust this folder",
                path.display()
            );
        }
    }
    Ok(index.weight_map)
}

//! The sources.

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its name, as in compilers' messages.
    pub name: &'static str,
    /// Its text, which includes some of [`HEADERS`].
    pub text: &'static str,
    /// Of attention, elements of a head: loops over them are to end up in registers.
    pub dim: Option<u32>,
}

impl Source {
    /// For heads of so many elements.
    pub(crate) const fn of_heads(self, dim: u32) -> Source {
        Source { dim: Some(dim), ..self }
    }
    /// What a compiler is told.
    pub fn flags(self) -> Vec<String> {
        self.dim.iter().map(|dim| format!("-DDIM={dim}")).collect()
    }
}

/// What they include, by name.
pub const HEADERS: &[(&str, &str)] = &[
    ("attention.h", include_str!("../cuda/attention.h")),
    ("common.h", include_str!("../cuda/common.h")),
    ("spans.h", include_str!("../cuda/spans.h")),
    ("tensor_cores.h", include_str!("../cuda/tensor_cores.h")),
];

macro_rules! sources {
    ($($name:ident = $file:literal $(for $dim:literal)?),* $(,)?) => {
        $(pub(crate) const $name: Source =
            Source {
                name: $file,
                text: include_str!(concat!("../cuda/", $file)),
                dim: None,
            };)*
        impl Source {
            /// All of them, those of attention for one size of heads.
            pub const ALL: &[Source] = &[$($name$(.of_heads($dim))?),*];
        }
    };
}

sources! {
    ADAMW = "adamw.cu",
    ATTENTION = "attention.cu" for 64,
    BIAS = "bias.cu",
    ELEMENTWISE = "elementwise.cu",
    EMBEDDING = "embedding.cu",
    FLASH = "flash.cu" for 128,
    LOSS = "loss.cu",
    NORM = "norm.cu",
    REDUCE = "reduce.cu",
    ROPE = "rope.cu",
    SUMS = "sums.cu",
}

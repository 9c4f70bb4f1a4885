//! The sources.

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its name, as in compilers' messages.
    pub name: &'static str,
    /// Its text, which includes some of [`HEADERS`].
    pub text: &'static str,
}

/// What they include, by name.
pub const HEADERS: &[(&str, &str)] = &[
    ("common.h", include_str!("../cuda/common.h")),
    ("tensor_cores.h", include_str!("../cuda/tensor_cores.h")),
];

macro_rules! sources {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(crate) const $name: Source =
            Source { name: $file, text: include_str!(concat!("../cuda/", $file)) };)*
        impl Source {
            /// All of them.
            pub const ALL: &[Source] = &[$($name),*];
        }
    };
}

sources! {
    NORM = "norm.cu",
    SUMS = "sums.cu",
}

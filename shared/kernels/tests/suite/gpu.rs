//! The machine that kernels run on if FERROTRON_KERNELS is `cuda`: a GPU.
use kernels::{Launch, Ptr};

#[cfg(feature = "cuda")]
pub use with::{Gpu, There};
#[cfg(not(feature = "cuda"))]
pub use without::{Gpu, There};

/// The one that all tests share, or none, if they are to run on the CPU.
pub fn gpu() -> Option<&'static Gpu> {
    match std::env::var("FERROTRON_KERNELS").as_deref() {
        Err(_) | Ok("host") => None,
        Ok("cuda") => Some(Gpu::get()),
        Ok(other) => panic!("FERROTRON_KERNELS={other}: expected host or cuda"),
    }
}

#[cfg(feature = "cuda")]
mod with {
    use super::*;
    use kernels::cuda::{Device, Memory};
    use std::sync::LazyLock;

    pub struct Gpu(Device);

    /// Bytes in its memory.
    pub struct There(Memory);

    impl Gpu {
        pub fn get() -> &'static Gpu {
            static GPU: LazyLock<Gpu> = LazyLock::new(|| {
                Gpu(Device::new(0).unwrap_or_else(|error| panic!("{error}")))
            });
            &GPU
        }
        pub fn device(&self) -> &Device {
            &self.0
        }
        pub fn upload(&self, bytes: &[u8]) -> There {
            There(self.0.upload(bytes).unwrap_or_else(|error| panic!("{error}")))
        }
        pub fn read(&self, from: &There, bytes: &mut [u8]) {
            self.0.read(&from.0, 0, bytes).unwrap_or_else(|error| panic!("{error}"));
        }
        /// Carries it out, and waits: what goes wrong is this kernel's.
        #[track_caller]
        pub fn launch(&self, launch: &Launch) {
            // SAFETY: a kernel that writes elsewhere is what the tests are to find.
            let done = unsafe { self.0.launch(launch) };
            done.and_then(|()| self.0.synchronize())
                .unwrap_or_else(|error| panic!("{launch:?}: {error}"));
        }
    }

    impl There {
        pub fn at(&self) -> Ptr {
            self.0.at()
        }
    }
}

/// Nothing of it can be made.
#[cfg(not(feature = "cuda"))]
mod without {
    use super::*;

    pub enum Gpu {}
    pub enum There {}

    impl Gpu {
        pub fn get() -> &'static Gpu {
            panic!("FERROTRON_KERNELS=cuda: build with --features cuda");
        }
        pub fn upload(&self, _: &[u8]) -> There {
            match *self {}
        }
        pub fn read(&self, _: &There, _: &mut [u8]) {
            match *self {}
        }
        pub fn launch(&self, _: &Launch) {
            match *self {}
        }
    }

    impl There {
        pub fn at(&self) -> Ptr {
            match *self {}
        }
    }
}

//! Matrix products on a GPU, by cuBLASLt.
//!
//! What is asked of the library is a [`Problem`]: made, and checked, of numbers alone.
use crate::cuda::{Device, Memory, named};
use crate::error::{Error, Result};
use crate::launch::{Number, Ptr};
use crate::product::{Math, Matrix, Store, Words};
use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue,
    cublasLtMatmulDescAttributes_t as Attribute,
    cublasLtMatmulPreferenceAttributes_t as Preferred,
    cublasLtReductionScheme_t as Reduction, cublasStatus_t as Status,
    cudaDataType_t as DataType,
};
use cudarc::driver::result::memcpy_dtod_async;
use cudarc::driver::{CudaStream, DriverError, sys as driver};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, PoisonError};

/// What cuBLASLt is asked: `D = op(A) op(B)`, or with `+ D`, or with a bias added to
/// each column; all matrices are column-major. Also by what its answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Rows of `D`.
    pub m: u64,
    /// Columns of `D`.
    pub n: u64,
    /// Terms of each of its elements.
    pub k: u64,
    /// Of `A` and `B`: whether `op` transposes.
    pub transposed: [bool; 2],
    /// Elements from a column to the next, of `A`, `B` and `D`.
    pub leading: [i64; 3],
    /// At multiples of how many bytes `A`, `B` and `D` start.
    pub alignment: [u32; 3],
    /// The type of `A` and `B`.
    pub inputs: Number,
    /// That of `D`, and of the bias.
    pub output: Number,
    /// How they are multiplied.
    pub math: Math,
    /// `D` is in the sum.
    pub add: bool,
    /// A bias, `[m]`, is.
    pub bias: bool,
}

/// Bytes that a thread can load at once, and the multiple at which the copies of Hopper
/// (TMA) start. Kernels ask for no more; and an algorithm, with the order of its sums,
/// is not to depend on more of an address than it must.
const ALIGNED: u32 = 16;

/// At multiples of how many bytes it is, up to [`ALIGNED`].
fn alignment(at: Ptr) -> u32 {
    1 << at.0.trailing_zeros().min(ALIGNED.trailing_zeros())
}

impl Problem {
    /// That which makes `c`, row-major, of `a · b`, or an error that says why there is
    /// none.
    pub fn new(
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
        math: Math,
    ) -> Result<Problem> {
        let wrong =
            |what: String| Err(Error(format!("{}: {what}", Words(&c, store, &a, &b))));
        if [a.rows, a.cols, b.cols] != [c.rows, b.rows, c.cols] {
            return wrong("the sizes do not fit".into());
        }
        if c.transposed {
            return wrong("C cannot be a transpose: make Cᵀ = Bᵀ · Aᵀ of it".into());
        }
        for (name, matrix) in [("C", c), ("A", a), ("B", b)] {
            if let Err(what) = matrix.check() {
                return wrong(format!("{name}: {what}"));
            }
        }
        if a.number != b.number {
            return wrong("A and B must be of one type".into());
        }
        if a.number == Number::F32 && c.number == Number::Bf16 {
            return wrong("cuBLASLt makes F32 of F32, not Bf16".into());
        }
        let bias = match store {
            Store::Bias(bias) if !bias.0.is_multiple_of(c.number.size() as u64) => {
                return wrong(format!("address {:#x} is not a bias's", bias.0));
            }
            // The epilogue reads so many bytes at once, of any bias.
            Store::Bias(bias) => Some(alignment(bias) == ALIGNED && a.cols > 0),
            Store::Set | Store::Add => None,
        };
        // cuBLAS is column-major: it takes what is in memory for the transpose, and
        // makes Cᵀ = Bᵀ · Aᵀ. So B comes first, and nothing is transposed for that.
        Ok(Problem {
            m: c.cols as u64,
            n: c.rows as u64,
            k: a.cols as u64,
            transposed: [b.transposed, a.transposed],
            leading: [b, a, c].map(|matrix| matrix.stride as i64),
            alignment: [b, a, c].map(|matrix| alignment(matrix.at)),
            inputs: a.number,
            output: c.number,
            math: match a.number {
                Number::F32 => math,
                Number::Bf16 => Math::Fp32,
            },
            // Otherwise the bias is there before, and is added to: rounded once, too.
            add: store == Store::Add || bias == Some(false),
            bias: bias == Some(true),
        })
    }
    /// Types, rows and columns of `A`, `B` and `D`, as they lie in memory.
    pub fn layouts(&self) -> [(Number, u64, u64); 3] {
        let Problem { m, n, k, inputs, output, .. } = *self;
        let stored = |transposed, rows, cols| match transposed {
            false => (inputs, rows, cols),
            true => (inputs, cols, rows),
        };
        let [a, b] = self.transposed;
        [stored(a, m, k), stored(b, k, n), (output, m, n)]
    }
    /// In what it is computed.
    pub fn compute_type(&self) -> Compute {
        match self.math {
            Math::Fp32 => Compute::CUBLAS_COMPUTE_32F,
            Math::Tf32 => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
        }
    }
    /// In what alpha and beta are.
    pub fn scale_type(&self) -> DataType {
        DataType::CUDA_R_32F
    }
    /// What is done to a sum before it is stored.
    pub fn epilogue(&self) -> Epilogue {
        match self.bias {
            false => Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
            true => Epilogue::CUBLASLT_EPILOGUE_BIAS,
        }
    }
}

/// As cuBLAS calls it.
pub fn data_type(number: Number) -> DataType {
    match number {
        Number::F32 => DataType::CUDA_R_32F,
        Number::Bf16 => DataType::CUDA_R_16BF,
    }
}

/// What a status of cuBLAS means.
pub fn meaning(status: Status) -> String {
    use Status::*;
    let meaning = match status {
        CUBLAS_STATUS_SUCCESS => "done",
        CUBLAS_STATUS_NOT_INITIALIZED => {
            "it could not start on this GPU: is its memory full, or the driver older \
             than the library?"
        }
        CUBLAS_STATUS_ALLOC_FAILED => "it got no memory",
        CUBLAS_STATUS_INVALID_VALUE => "something in it has no meaning",
        CUBLAS_STATUS_ARCH_MISMATCH => "this GPU cannot do that",
        CUBLAS_STATUS_MAPPING_ERROR => "it could not read or write the GPU's memory",
        CUBLAS_STATUS_EXECUTION_FAILED => {
            "the GPU did not run it; or a kernel that was started before failed, and \
             CUDA_LAUNCH_BLOCKING=1 shows which"
        }
        CUBLAS_STATUS_INTERNAL_ERROR => "it failed within",
        CUBLAS_STATUS_NOT_SUPPORTED => "it has no algorithm for that",
        CUBLAS_STATUS_LICENSE_ERROR => "it has no license",
    };
    format!("{status:?} ({meaning})")
}

/// Whether the library is there; an error says what is to be done.
pub fn library() -> Result<()> {
    // SAFETY: it is NVIDIA's library that is loaded, or what a user put in its place.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error(
            "there is no cuBLASLt, which multiplies matrices: libcublasLt.so and \
             libcublasLt.so.13 are not where libraries are searched for. It comes with \
             CUDA's toolkit, and from PyPI as nvidia-cublas (pip install \
             'nvidia-cublas<14'); then add its folder to LD_LIBRARY_PATH"
                .into(),
        ));
    }
    Ok(())
}

/// Multiplies matrices on a [`Device`].
pub struct Matmul {
    handle: Owned<sys::cublasLtHandle_t>,
    /// The device's. What is on it runs in turn, so one workspace serves all.
    stream: Arc<CudaStream>,
    /// Where a sum's parts are when many blocks share it.
    workspace: Memory,
    /// How fp32 is multiplied: as it is, unless this is changed.
    pub math: Math,
    /// Of what was asked before.
    plans: Mutex<HashMap<Problem, Plan>>,
}

// SAFETY: a handle may be used by any thread, by several at once. Plans are used by the
// one that holds the lock.
unsafe impl Send for Matmul {}
// SAFETY: likewise.
unsafe impl Sync for Matmul {}

/// The algorithm for a problem, and what it is to be started with.
struct Plan {
    product: Owned<sys::cublasLtMatmulDesc_t>,
    layouts: [Owned<sys::cublasLtMatrixLayout_t>; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

type Lt<T> = std::result::Result<T, CublasError>;

impl Matmul {
    /// With a workspace of the size that NVIDIA advises for the device: 32 MB on Hopper
    /// and later, 4 MB before.
    pub fn new(device: &Device) -> Result<Matmul> {
        library()?;
        let stream = device.stream().clone();
        bind(&stream).map_err(|error| Error(format!("cuBLASLt: {}", named(error))))?;
        let handle = lt::create_handle().map_err(|CublasError(status)| {
            Error(format!("cuBLASLt does not start: {}", meaning(status)))
        })?;
        let handle = Owned(handle, lt::destroy_handle);
        let megabytes = if device.sm() >= 90 { 32 } else { 4 };
        let workspace = device.alloc(megabytes << 20)?;
        let (math, plans) = (Math::default(), Mutex::default());
        Ok(Matmul { handle, stream, workspace, math, plans })
    }
    /// Starts `c = a · b`, or what `store` says, after all that was started on the
    /// device before. Products are summed in fp32, and rounded once. Matrices may be
    /// empty: a sum of nothing is zero.
    ///
    /// The same product is the same bit for bit, with the same version of the library
    /// on the same model of GPU, if addresses are multiples of 16 bytes, or as far from
    /// them.
    ///
    /// # Errors
    /// The device is not that of [`Matmul::new`], sizes or types do not fit, or the
    /// library cannot do it.
    ///
    /// # Safety
    /// The addresses are those of the device's memory, as much of it as the sizes say,
    /// which lives until the product is there; and `c` is none of the others.
    pub unsafe fn start(
        &self,
        device: &Device,
        c: Matrix,
        store: Store,
        a: Matrix,
        b: Matrix,
    ) -> Result<()> {
        let fail =
            |what: String| Error(format!("{}: {what}", Words(&c, store, &a, &b)));
        if !Arc::ptr_eq(&self.stream, device.stream()) {
            return Err(fail("this is not the device that Matmul was made for".into()));
        }
        let problem = Problem::new(c, store, a, b, self.math)?;
        if c.rows == 0 || c.cols == 0 {
            return Ok(());
        }
        let driver = |error| fail(named(error));
        bind(&self.stream).map_err(driver)?;
        let bias = match store {
            Store::Bias(bias) => bias,
            Store::Set | Store::Add => Ptr(0),
        };
        // SAFETY: the caller's promise.
        unsafe {
            if matches!(store, Store::Bias(_)) && !problem.bias {
                self.fill(c, bias).map_err(driver)?;
            }
            if a.cols > 0 {
                let at = [b, a, c].map(|matrix| matrix.at);
                let mut made = self.multiply(problem, at, bias);
                if problem.bias
                    && made == Err(CublasError(Status::CUBLAS_STATUS_NOT_SUPPORTED))
                {
                    // No algorithm for these sizes adds a bias: it is there before.
                    self.fill(c, bias).map_err(driver)?;
                    let problem = Problem { bias: false, add: true, ..problem };
                    made = self.multiply(problem, at, bias);
                }
                made.map_err(|CublasError(status)| fail(meaning(status)))?;
            } else if !problem.add {
                self.zero(c).map_err(driver)?;
            }
        }
        device.started("matmul", a.number);
        Ok(())
    }
    /// As cuBLAS counts: column-major, `[A, B, D]`.
    ///
    /// # Safety
    /// As for [`Matmul::start`].
    unsafe fn multiply(&self, problem: Problem, at: [Ptr; 3], bias: Ptr) -> Lt<()> {
        // Nothing in it is ever half done.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(problem) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let workspace = self.workspace.bytes();
                place.insert(Plan::new(&self.handle, problem, bias, workspace)?)
            }
        };
        if problem.bias {
            plan.bias(bias)?;
        }
        let (alpha, beta) = (1f32, if problem.add { 1f32 } else { 0f32 });
        let [a, b, d] = at.map(|at| at.0 as *mut c_void);
        let [a_layout, b_layout, d_layout] = &plan.layouts;
        // SAFETY: memory is the caller's promise. The rest lives here, and is read
        // before this returns.
        unsafe {
            lt::matmul(
                self.handle.0,
                plan.product.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                a,
                a_layout.0,
                b,
                b_layout.0,
                d,
                d_layout.0,
                d,
                d_layout.0,
                &plan.algorithm,
                self.workspace.at().0 as *mut c_void,
                self.workspace.bytes(),
                self.stream.cu_stream().cast(),
            )
        }
    }
    /// Zeros.
    ///
    /// # Safety
    /// As for [`Matmul::start`].
    unsafe fn zero(&self, c: Matrix) -> std::result::Result<(), DriverError> {
        let size = c.number.size();
        let (pitch, width) = (c.stride * size, c.cols * size);
        let stream = self.stream.cu_stream();
        // SAFETY: the caller's promise.
        unsafe { driver::cuMemsetD2D8Async(c.at.0, pitch, 0, width, c.rows, stream) }
            .result()
    }
    /// This vector in each row. The first row is one, then copies of what is there
    /// double it.
    ///
    /// # Safety
    /// As for [`Matmul::start`].
    unsafe fn fill(&self, c: Matrix, row: Ptr) -> std::result::Result<(), DriverError> {
        let size = c.number.size();
        let (pitch, width) = (c.stride * size, c.cols * size);
        let stream = self.stream.cu_stream();
        // SAFETY: the caller's promise.
        unsafe { memcpy_dtod_async(c.at.0, row.0, width, stream)? };
        let mut there = 1;
        while there < c.rows {
            let more = there.min(c.rows - there);
            let copy = driver::CUDA_MEMCPY2D {
                srcXInBytes: 0,
                srcY: 0,
                srcMemoryType: driver::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                srcHost: null(),
                srcDevice: c.at.0,
                srcArray: null_mut(),
                srcPitch: pitch,
                dstXInBytes: 0,
                dstY: 0,
                dstMemoryType: driver::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                dstHost: null_mut(),
                dstDevice: c.at.0 + (there * pitch) as u64,
                dstArray: null_mut(),
                dstPitch: pitch,
                WidthInBytes: width,
                Height: more,
            };
            // SAFETY: the caller's promise; they are rows of `c`.
            unsafe { driver::cuMemcpy2DAsync_v2(&copy, stream) }.result()?;
            there += more;
        }
        Ok(())
    }
}

impl Drop for Matmul {
    fn drop(&mut self) {
        // The handle has something on the device. Memory is all that an error costs.
        let _ = bind(&self.stream);
    }
}

/// Makes the stream's device that of this thread.
fn bind(stream: &CudaStream) -> std::result::Result<(), DriverError> {
    stream.context().bind_to_thread()
}

impl Plan {
    fn new(
        handle: &Owned<sys::cublasLtHandle_t>,
        problem: Problem,
        bias: Ptr,
        workspace: usize,
    ) -> Lt<Plan> {
        let layout = |i: usize| {
            let (number, rows, cols) = problem.layouts()[i];
            let leading = problem.leading[i];
            lt::create_matrix_layout(data_type(number), rows, cols, leading)
                .map(|layout| Owned(layout, lt::destroy_matrix_layout))
        };
        let layouts = [layout(0)?, layout(1)?, layout(2)?];
        let [a, b, d] = [0, 1, 2].map(|i| layouts[i].0);
        let (compute, scale) = (problem.compute_type(), problem.scale_type());
        let product = lt::create_matmul_desc(compute, scale)?;
        let product = Owned(product, lt::destroy_matmul_desc);
        // CUBLAS_OP_N or CUBLAS_OP_T.
        let operations = problem.transposed.map(|transposed| transposed as i32);
        let preference = Owned(lt::create_matmul_pref()?, lt::destroy_matmul_pref);
        let mut plan = Plan { product, layouts, algorithm: empty() };
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, operations[0])?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, operations[1])?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, problem.epilogue())?;
        if problem.bias {
            plan.bias(bias)?; // The library looks at where it is.
        }
        use Preferred::*;
        let [to_a, to_b, to_d] = problem.alignment;
        prefer(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace)?;
        prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, to_a)?;
        prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, to_b)?;
        prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, to_d)?;
        prefer(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, to_d)?;
        // Where blocks share a sum, its parts are in fp32, and in the workspace: not
        // rounded to the output's type, and added in a fixed order.
        let parts = Reduction::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
        prefer(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, parts)?;
        // SAFETY: all live.
        let found = unsafe {
            let (product, preference) = (plan.product.0, preference.0);
            lt::get_matmul_algo_heuristic(handle.0, product, a, b, d, d, preference)?
        };
        plan.algorithm = found.algo;
        Ok(plan)
    }
    fn bias(&self, at: Ptr) -> Lt<()> {
        self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, at)
    }
    /// `value` must be of the type that the attribute has: 4 bytes, or 8 of an address.
    fn set<T: Copy>(&self, attribute: Attribute, value: T) -> Lt<()> {
        let (value, size) = ((&raw const value).cast(), size_of::<T>());
        // SAFETY: it lives. The size is checked.
        unsafe { lt::set_matmul_desc_attribute(self.product.0, attribute, value, size) }
    }
}

/// `value` must be of the type that the attribute has: 4 bytes, or 8 of a size.
fn prefer<T: Copy>(
    preference: &Owned<sys::cublasLtMatmulPreference_t>,
    attribute: Preferred,
    value: T,
) -> Lt<()> {
    let (value, size) = ((&raw const value).cast(), size_of::<T>());
    // SAFETY: it lives. The size is checked.
    unsafe { lt::set_matmul_pref_attribute(preference.0, attribute, value, size) }
}

/// No algorithm.
fn empty() -> sys::cublasLtMatmulAlgo_t {
    sys::cublasLtMatmulAlgo_t { data: [0; 8] }
}

/// One of the library's, until it is dropped; and what destroys it.
struct Owned<T: Copy>(T, unsafe fn(T) -> Lt<()>);

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has it. Memory is all that an error could cost.
        let _ = unsafe { (self.1)(self.0) };
    }
}

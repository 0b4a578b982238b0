//! CUDA kernels, compiled by NVRTC when they are first used: nothing of CUDA is needed to build, and the driver and
//! NVRTC are looked for at run time.
//!
//! They work on addresses of device memory and know no tensors.
#![expect(unsafe_code, reason = "kernels are launched through the driver's interface")]

use std::{
    collections::BTreeMap,
    ffi::{CString, c_void},
    sync::{Mutex, PoisonError},
};

use cudarc::{
    driver::{result, sys},
    nvrtc::{self, CompileOptions},
};

/// Keys of a prompt that one warp reads, as in `decode.cu`.
const PART: usize = 128;
/// Warps of a block, as in `decode.cu`; each takes a part of a completion's own tokens.
const WARPS: usize = 4;

/// Kernels that cannot be had or do not run.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// No library.
    #[error("no {0} was found; add the folder of CUDA 13's libraries to LD_LIBRARY_PATH")]
    NoLibrary(&'static str),
    /// The compiler's words.
    #[error("the kernels do not compile: {0}")]
    Compile(String),
    /// The driver's words.
    #[error("CUDA refused: {0:?}")]
    Driver(#[from] result::DriverError),
}

/// Sizes of what a decode step attends to.
#[derive(Clone, Copy, Debug)]
pub struct DecodeShape {
    /// Groups that the cache has room for.
    pub groups: usize,
    /// Completions of a group.
    pub group_size: usize,
    /// Query heads, at most 16 for each key/value head.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head: 64 or 128.
    pub d: usize,
    /// Tokens that the cache has room for in each prompt.
    pub prompt_places: usize,
    /// Tokens that it has room for in each completion.
    pub own_places: usize,
}

impl DecodeShape {
    /// Whether there are kernels for it.
    pub fn is_supported(&self) -> bool {
        matches!(self.d, 64 | 128)
            && self.heads.is_multiple_of(self.kv_heads)
            && self.heads / self.kv_heads <= 16
    }

    /// Parts whose softmaxes are merged, for each query.
    pub fn parts(&self) -> usize {
        self.prompt_parts() + WARPS
    }

    fn prompt_parts(&self) -> usize {
        self.prompt_places.div_ceil(PART)
    }

    fn slots(&self) -> usize {
        self.groups * self.group_size
    }
}

/// Device memory of a step, by address. Numbers are bf16 unless said otherwise; all rows start at multiples of 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct DecodeStep {
    /// Completions that take part.
    pub rows: usize,
    /// int32: `[groups]` tokens of each prompt, `[slots]` own tokens of each completion with the newest, `[slots]` row of
    /// each completion or -1.
    pub lengths: u64,
    /// `[rows, heads, d]` queries, keys and values of the newest tokens, with the numbers between two rows of each.
    pub qkv: [(u64, usize); 3],
    /// `[groups, kv_heads, prompt_places, d]` keys and values.
    pub prompts: [u64; 2],
    /// `[slots, kv_heads, own_places, d]` keys and values; the newest are written here.
    pub own: [u64; 2],
    /// fp32, room for `[rows, heads, parts, d]`.
    pub sums: u64,
    /// fp32, room for `[rows, heads, parts, 2]`.
    pub scales: u64,
    /// `[rows, heads * d]` the result.
    pub out: u64,
}

/// The sizes as `decode.cu` has them.
#[repr(C)]
struct Shape([i32; 10]);

/// The kernels of a decode step, loaded on one GPU.
#[derive(Debug)]
pub struct DecodeKernels {
    shape: DecodeShape,
    context: sys::CUcontext,
    append: sys::CUfunction,
    split: sys::CUfunction,
    merge: sys::CUfunction,
}

impl DecodeKernels {
    /// Compiles and loads the kernels for the GPU of this number.
    pub fn load(shape: DecodeShape, gpu: usize) -> Result<Self, CudaError> {
        // SAFETY: looking for a library runs only the initialisers of CUDA's own.
        unsafe {
            if !sys::is_culib_present() {
                return Err(CudaError::NoLibrary("CUDA driver"));
            }
            if !nvrtc::sys::is_culib_present() {
                return Err(CudaError::NoLibrary("NVRTC"));
            }
        }
        let context = context(gpu)?;
        let [append, split, merge] = functions(context, shape.d)?.map(|function| function as sys::CUfunction);
        Ok(Self { shape, context, append, split, merge })
    }

    /// Whether kernels can be had at all, on the first GPU.
    pub fn check() -> Result<(), CudaError> {
        let shape = DecodeShape {
            groups: 1,
            group_size: 1,
            heads: 1,
            kv_heads: 1,
            d: 128,
            prompt_places: 1,
            own_places: 1,
        };
        Self::load(shape, 0).map(drop)
    }

    /// Attention of one layer, on the default stream: the newest keys and values join the completions' own, and each
    /// query sees its prompt and its completion.
    ///
    /// # Safety
    ///
    /// The addresses are those of device memory of the stated sizes, which lives until the stream is done with it.
    pub unsafe fn attend(&self, step: &DecodeStep) -> Result<(), CudaError> {
        let DecodeShape { groups, group_size, heads, kv_heads, d, prompt_places, own_places } = self.shape;
        let [(q, q_stride), (k, k_stride), (v, v_stride)] = step.qkv;
        let parts = self.shape.prompt_parts();
        let shape = Shape(
            [
                groups,
                group_size,
                heads,
                kv_heads,
                prompt_places,
                own_places,
                parts,
                q_stride,
                k_stride,
                v_stride,
            ]
            .map(|n| n as i32),
        );
        let DecodeStep {
            lengths, prompts: [prompt_k, prompt_v], own: [own_k, own_v], sums, scales, out, ..
        } = *step;
        let slots = self.shape.slots();
        let tiles = (group_size * heads / kv_heads).div_ceil(16 * WARPS);
        let blocks = groups * kv_heads * parts * tiles + slots * kv_heads;
        let _entered = Entered::new(self.context)?;
        // SAFETY: the arguments are those of the kernels in `decode.cu`; the memory is the caller's to vouch for.
        unsafe {
            launch(self.append, slots, 64, &shape, &[lengths, k, v, own_k, own_v])?;
            let of_split = [lengths, q, prompt_k, prompt_v, own_k, own_v, sums, scales];
            launch(self.split, blocks, 32 * WARPS, &shape, &of_split)?;
            launch(self.merge, step.rows * heads, d, &shape, &[sums, scales, out])
        }
    }
}

/// Kernels by the context and the width of a head that they were loaded for: compiled once, and never unloaded.
static LOADED: Mutex<BTreeMap<(usize, usize), [usize; 3]>> = Mutex::new(BTreeMap::new());

/// The context that libtorch uses on a GPU, its primary one, which is kept for as long as the process lives.
fn context(gpu: usize) -> Result<sys::CUcontext, CudaError> {
    result::init()?;
    let device = result::device::get(gpu as i32)?;
    // SAFETY: the device is one that the driver gave.
    Ok(unsafe { result::primary_ctx::retain(device)? })
}

/// This thread works in a context until this is dropped, then in its own again, or in none where it had none.
struct Entered {
    /// None where the thread was in the context already.
    before: Option<sys::CUcontext>,
}

impl Entered {
    fn new(context: sys::CUcontext) -> Result<Self, CudaError> {
        let before = result::ctx::get_current()?;
        if before == Some(context) {
            return Ok(Self { before: None });
        }
        // SAFETY: primary contexts are never released.
        unsafe { result::ctx::set_current(context)? };
        Ok(Self { before: Some(before.unwrap_or(std::ptr::null_mut())) })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // SAFETY: the context that this thread had, or null for none. That the driver refuses it again cannot be mended here.
            let _ = unsafe { result::ctx::set_current(before) };
        }
    }
}

/// The addresses of `append`, `split` and `merge` in a context.
fn functions(context: sys::CUcontext, d: usize) -> Result<[usize; 3], CudaError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&functions) = loaded.get(&(context as usize, d)) {
        return Ok(functions);
    }
    let _entered = Entered::new(context)?;
    let image = compile(d)?;
    // SAFETY: the image ends with a zero and stays until the module is loaded; modules are never unloaded.
    let functions = unsafe {
        let module = result::module::load_data(image.as_ptr().cast())?;
        let function = |name: &str| -> Result<usize, CudaError> {
            let name = CString::new(name).unwrap_or_default();
            Ok(result::module::get_function(module, name)? as usize)
        };
        [function("append")?, function("split")?, function("merge")?]
    };
    loaded.insert((context as usize, d), functions);
    Ok(functions)
}

/// Launches a kernel whose first argument is the shape and whose others are addresses.
unsafe fn launch(
    function: sys::CUfunction,
    blocks: usize,
    threads: usize,
    shape: &Shape,
    addresses: &[u64],
) -> Result<(), CudaError> {
    let mut arguments: Vec<*mut c_void> = vec![std::ptr::from_ref(shape).cast_mut().cast()];
    arguments.extend(addresses.iter().map(|address| std::ptr::from_ref(address).cast_mut().cast::<c_void>()));
    let (grid, block) = ((blocks as u32, 1, 1), (threads as u32, 1, 1));
    // SAFETY: as at the caller; the driver copies the arguments before it returns.
    unsafe { result::launch_kernel(function, grid, block, 0, std::ptr::null_mut(), &mut arguments)? };
    Ok(())
}

/// PTX for compute capability 8.0 and later, with its final zero.
fn compile(d: usize) -> Result<Vec<u8>, CudaError> {
    let source =
        format!("#define D {d}\n#define INFINITY __int_as_float(0x7f800000)\n{}", include_str!("decode.cu"));
    let options = CompileOptions { arch: Some("compute_80"), ..CompileOptions::default() };
    let ptx = nvrtc::compile_ptx_with_opts(source, options)
        .map_err(|error| CudaError::Compile(format!("{error:?}")))?;
    let mut image = ptx.to_src().into_bytes();
    image.push(0);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_compile_where_nvrtc_is() {
        // SAFETY: as in `load`.
        if !unsafe { nvrtc::sys::is_culib_present() } {
            return;
        }
        for d in [64, 128] {
            let text = String::from_utf8(compile(d).unwrap()).unwrap();
            assert!(
                ["append", "split", "merge"].iter().all(|name| text.contains(&format!(".entry {name}(")))
            );
        }
    }
}

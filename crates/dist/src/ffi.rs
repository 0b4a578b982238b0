//! The border to `c10d/shim.cpp`.
#![expect(unsafe_code, reason = "libtorch's c10d has no other border than C++")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr::{self, NonNull},
    time::Duration,
};

use tch::Tensor;
use torch_sys::C_tensor;

#[repr(C)]
struct CStore(c_void);
#[repr(C)]
struct CBackend(c_void);
type Message = *mut *mut c_char;

unsafe extern "C" {
    fn reft_store_tcp(
        host: *const c_char,
        port: c_int,
        world: c_int,
        listen_fd: c_int,
        timeout: i64,
        out: *mut *mut CStore,
        error: Message,
    ) -> c_int;
    fn reft_store_set(store: *mut CStore, key: *const c_char, value: *const c_char, error: Message) -> c_int;
    fn reft_store_wait(store: *mut CStore, key: *const c_char, timeout: i64, error: Message) -> c_int;
    fn reft_store_free(store: *mut CStore);
    fn reft_backend_new(
        store: *mut CStore,
        name: *const c_char,
        kind: *const c_char,
        rank: c_int,
        world: c_int,
        device: c_int,
        timeout: i64,
        out: *mut *mut CBackend,
        error: Message,
    ) -> c_int;
    fn reft_nccl_check(error: Message) -> c_int;
    fn reft_all_reduce(b: *mut CBackend, x: *mut C_tensor, op: c_int, timeout: i64, error: Message) -> c_int;
    fn reft_broadcast(b: *mut CBackend, x: *mut C_tensor, root: c_int, timeout: i64, error: Message)
    -> c_int;
    fn reft_all_gather(
        b: *mut CBackend,
        all: *mut C_tensor,
        own: *mut C_tensor,
        timeout: i64,
        error: Message,
    ) -> c_int;
    fn reft_reduce_scatter(
        b: *mut CBackend,
        own: *mut C_tensor,
        all: *mut C_tensor,
        timeout: i64,
        error: Message,
    ) -> c_int;
    fn reft_barrier(b: *mut CBackend, timeout: i64, error: Message) -> c_int;
    fn reft_backend_free(b: *mut CBackend);
    fn free(memory: *mut c_void);
}

fn checked(call: impl FnOnce(Message) -> c_int) -> Result<(), String> {
    let mut message = ptr::null_mut();
    if call(&raw mut message) == 0 {
        return Ok(());
    }
    // SAFETY: a call that fails leaves a C string that is ours to free.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        free(message.cast());
        Err(text)
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("`{text}` holds a zero byte"))
}

fn millis(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)
}

/// Whether NCCL's group is there and laid out as the shim assumes.
pub(crate) fn check_nccl() -> Result<(), String> {
    // SAFETY: it takes nothing but the place of its message.
    checked(|error| unsafe { reft_nccl_check(error) })
}

/// Keys and values that all ranks see.
pub(crate) struct Store(NonNull<CStore>);

// SAFETY: c10d's stores lock for themselves.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Connects, and serves on `listening`, a file descriptor that is given away, where there is one.
    pub(crate) fn tcp(
        host: &str,
        port: u16,
        world: usize,
        listening: Option<c_int>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let (host, mut out) = (c_string(host)?, ptr::null_mut());
        // SAFETY: the strings live as long as the call.
        checked(|error| unsafe {
            reft_store_tcp(
                host.as_ptr(),
                port.into(),
                world as c_int,
                listening.unwrap_or(-1),
                millis(timeout),
                &raw mut out,
                error,
            )
        })?;
        NonNull::new(out).map(Self).ok_or_else(|| "no store was made".into())
    }

    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: the store lives, the strings live as long as the call.
        checked(|error| unsafe { reft_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), error) })
    }

    /// Waits until a key is there.
    pub(crate) fn wait(&self, key: &str, timeout: Duration) -> Result<(), String> {
        let key = c_string(key)?;
        // SAFETY: as above.
        checked(|error| unsafe { reft_store_wait(self.0.as_ptr(), key.as_ptr(), millis(timeout), error) })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `reft_store_tcp` and freed once; backends hold the store by counted pointers of their own.
        unsafe { reft_store_free(self.0.as_ptr()) }
    }
}

/// Sums, or the smallest or largest of all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The sum.
    Sum = 0,
    /// The smallest.
    Min = 3,
    /// The largest.
    Max = 4,
}

/// Collectives among the ranks, each called by all of them in the same order.
pub(crate) struct Backend {
    raw: NonNull<CBackend>,
    timeout: Duration,
}

// SAFETY: c10d's backends may be used from any thread; that calls come in the same order on all ranks is the callers' part.
unsafe impl Send for Backend {}
// SAFETY: as above.
unsafe impl Sync for Backend {}

impl Backend {
    /// Waits for the other ranks. `device` is that of NCCL; without one the backend is Gloo.
    pub(crate) fn new(
        store: &Store,
        name: &str,
        (rank, world): (usize, usize),
        device: Option<usize>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let (name, mut out) = (c_string(name)?, ptr::null_mut());
        let kind = if device.is_some() { c"nccl" } else { c"gloo" };
        // SAFETY: the store and the strings live as long as the call.
        checked(|error| unsafe {
            reft_backend_new(
                store.0.as_ptr(),
                name.as_ptr(),
                kind.as_ptr(),
                rank as c_int,
                world as c_int,
                device.unwrap_or(0) as c_int,
                millis(timeout),
                &raw mut out,
                error,
            )
        })?;
        NonNull::new(out).map(|raw| Self { raw, timeout }).ok_or_else(|| "no backend was made".into())
    }

    /// In place.
    pub(crate) fn all_reduce(&self, x: &Tensor, op: Op) -> Result<(), String> {
        self.call(&[x], |b, timeout, error| {
            // SAFETY: backend and tensor live; `call` keeps the tensor where a failed call may still use it.
            unsafe { reft_all_reduce(b, x.as_ptr().cast_mut(), op as c_int, timeout, error) }
        })
    }

    /// In place: everyone has the tensor of rank `root`.
    pub(crate) fn broadcast(&self, x: &Tensor, root: usize) -> Result<(), String> {
        self.call(&[x], |b, timeout, error| {
            // SAFETY: as above.
            unsafe { reft_broadcast(b, x.as_ptr().cast_mut(), root as c_int, timeout, error) }
        })
    }

    /// The tensors `own` of all ranks, one after another, into `all`.
    pub(crate) fn all_gather(&self, all: &Tensor, own: &Tensor) -> Result<(), String> {
        self.call(&[all, own], |b, timeout, error| {
            // SAFETY: as above.
            unsafe { reft_all_gather(b, all.as_ptr().cast_mut(), own.as_ptr().cast_mut(), timeout, error) }
        })
    }

    /// This rank's piece of the sum of `all` into `own`.
    pub(crate) fn reduce_scatter(&self, own: &Tensor, all: &Tensor) -> Result<(), String> {
        self.call(&[own, all], |b, timeout, error| {
            // SAFETY: as above.
            unsafe {
                reft_reduce_scatter(b, own.as_ptr().cast_mut(), all.as_ptr().cast_mut(), timeout, error)
            }
        })
    }

    /// Waits until all ranks are here.
    pub(crate) fn barrier(&self) -> Result<(), String> {
        // SAFETY: the backend lives.
        self.call(&[], |b, timeout, error| unsafe { reft_barrier(b, timeout, error) })
    }

    fn call(
        &self,
        tensors: &[&Tensor],
        call: impl FnOnce(*mut CBackend, i64, Message) -> c_int,
    ) -> Result<(), String> {
        checked(|error| call(self.raw.as_ptr(), millis(self.timeout), error)).inspect_err(|_| {
            // After a time-out a thread of the backend goes on reading and writing them.
            for x in tensors {
                std::mem::forget(x.shallow_clone());
            }
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: made by `reft_backend_new` and freed once.
        unsafe { reft_backend_free(self.raw.as_ptr()) }
    }
}

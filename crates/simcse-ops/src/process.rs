//! How a program of this workspace uses memory and threads.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc 2 and 3, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;
/// Of that option: freed pages are never given back.
const NEVER: c_long = -1;

/// The variable by which candle is told the size of its own thread pool.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Bytes of a thread's stack: a backward pass of candle calls itself once for each op between loss and parameters.
const STACK: usize = 64 << 20;

/// What `main` consists of: runs `body` in a process that is set up for training.
///
/// Makes mimalloc keep the pages of freed tensors for the next ones: a step frees some hundred megabytes that the next
/// step wants again; given back in between, the kernel has to clear them anew (a fifth of the time of a step of BERT).
/// With another global allocator this does nothing.
///
/// Leaves the machine to one thread pool, that of the kernels here: candle has a second one for its element-wise
/// passes, whose threads spin for a while after each and take a core from the kernel that comes next (8 % of a step).
/// Where the user has set `CANDLE_NUM_THREADS`, it stays as it is. `body` runs on a thread of the pool: from another
/// thread each of the hundreds of kernels of a step would begin and end with a message between threads.
///
/// To be called first thing in `main`, before there is another thread.
pub fn run<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    // SAFETY: `mi_option_set` writes one entry of a static table that mimalloc reads atomically; the option is
    // one of that table in both versions of the library that the bindings can build.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
    // Elsewhere than on Linux the caller's word has to do.
    let is_alone = std::fs::read_dir("/proc/self/task").map_or(true, |threads| threads.count() == 1);
    if is_alone && std::env::var_os(CANDLE_THREADS).is_none() {
        // SAFETY: there is no other thread that could read the environment.
        unsafe { std::env::set_var(CANDLE_THREADS, "1") };
    }
    // An error means that the pool is there already: it is then as large as it is.
    drop(rayon::ThreadPoolBuilder::new().stack_size(STACK).build_global());
    rayon::scope(|_| body())
}

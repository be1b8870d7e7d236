//! Memory of tensors that is kept between steps.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of mimalloc 2 and 3, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;
/// Of that option: freed pages are never given back.
const NEVER: c_long = -1;

/// Makes mimalloc keep the pages of freed tensors for the next ones.
///
/// A step frees some hundred megabytes that the next step wants again; given back in between, the kernel has to
/// clear them anew (a fifth of the time of a step of BERT). Call it first thing in a program whose global
/// allocator is mimalloc; with another allocator it does nothing.
pub fn keep_pages() {
    // SAFETY: `mi_option_set` writes one entry of a static table that mimalloc reads atomically; the option is
    // one of that table in both versions of the library that the bindings can build.
    unsafe { mi_option_set(PURGE_DELAY, NEVER) };
}

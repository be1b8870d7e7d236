//! Fused, differentiable CPU kernels under the encoders, and the optimiser's update.
//!
//! Batches are ragged: the tokens of all sentences stand end to end, `[T, H]`, and
//! [`Segments`] says where each sentence begins. Every op is a candle custom op with its own backward,
//! has a plain reference in its tests, and is checked against finite differences and PyTorch.
//!
//! | module | op |
//! |---|---|
//! | [`embedding`] | table lookup with dropout, `[V, E]` → `[T, E]` |
//! | [`conv_max`] | convolution + ReLU + max over time, `[T, E]` → `[S, M]` |
//! | [`dropout`] | inverted dropout by row, `[S, D]` → `[S, D]` |
//! | [`adamw`] | AdamW update in place |
//! | [`simd`] | run-time dispatch: AVX-512, AVX2 + FMA, portable |
//!
//! This is the only crate with `unsafe` code, and that only in [`simd`] and around the call of `gemm`.
//! Results do not depend on the number of threads: work is cut into blocks by size alone, and no two
//! blocks add into the same place.

pub mod adamw;
pub mod conv_max;
pub mod dropout;
pub mod embedding;
mod matmul;
mod segments;
pub mod simd;
mod tensors;

pub use segments::Segments;

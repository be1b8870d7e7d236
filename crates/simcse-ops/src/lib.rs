//! Fused, differentiable CPU kernels under the encoders, and the optimiser's update.
//!
//! Batches are ragged: the tokens of all sentences stand end to end, `[T, H]`, and
//! [`Segments`] says where each sentence begins. Every op is a candle custom op with its own backward,
//! has a plain reference in its tests, and is checked against finite differences and PyTorch.
//!
//! | module | op |
//! |---|---|
//! | [`embedding`] | table lookup with dropout, `[V, E]` → `[T, E]` |
//! | [`linear`] | linear + bias + activation, `[T, K]` → `[T, N]` |
//! | [`layer_norm`] | dropout + residual + layer norm + dropout, `[T, H]` → `[T, H]` |
//! | [`attention`] | ragged multi-head attention with dropout, `[T, 3H]` → `[T, H]` |
//! | [`pooling`] | first, mean or max of a sentence's states, `[T, H]` → `[S, H]` |
//! | [`conv_max`] | convolution + ReLU + max over time, `[T, E]` → `[S, M]` |
//! | [`dropout`] | inverted dropout by row, `[S, D]` → `[S, D]` |
//! | [`margin_softmax`] | cross-entropy over normalised classes with a margin, `[B, D]`, `[C, D]` → `[B]` |
//! | [`adamw`] | AdamW update in place |
//! | [`gradients`] | a backward pass that keeps gradients of parameters from candle's sums |
//! | [`in_place`] | one tensor updated by another, value by value |
//! | [`tape`] | layers of a transformer end to end, as one op of candle |
//! | [`profile`] | where the time of a step goes |
//! | [`process`] | memory and threads of a program that trains |
//! | [`simd`] | run-time dispatch: AMX, AVX-512, AVX2 + FMA, portable |
//!
//! This is the only crate with `unsafe` code, and that only in [`simd`], [`process`], the tiles of matrix products and around
//! the call of `gemm`.
//! Results do not depend on the number of threads: work is cut into blocks by size alone, and no two
//! blocks add into the same place.

pub mod adamw;
pub mod attention;
pub mod conv_max;
pub mod dropout;
pub mod embedding;
pub mod gradients;
pub mod in_place;
pub mod layer_norm;
pub mod linear;
pub mod margin_softmax;
mod math;
pub mod pooling;
pub mod process;
mod products;
pub mod profile;
mod segments;
pub mod simd;
mod small_products;
pub mod tape;
mod tensors;

pub use segments::Segments;
pub use tensors::values;

//! Many runs from one file, by one process or by several at once.
//!
//! | module | what |
//! |---|---|
//! | `file` | a file with a base, variants, grids and seeds → configurations |
//! | `shard` | the part of a sweep that is one process's own |
//! | `walk` | run after run, with the time that is left |
//! | `slurm` | the script of an array job |

mod file;
mod shard;
mod slurm;
mod walk;

pub use file::load;
pub use shard::Shard;
pub use slurm::array_script;
pub use walk::{Sweep, Walked};

#[cfg(test)]
mod tests;

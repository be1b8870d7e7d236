//! Sentence encoders: ragged token batches in, embeddings `[rows, D]` out.
//!
//! | module | what |
//! |---|---|
//! | [`encoder`] | the contract [`SentenceEncoder`], and [`Mode`] with its dropout stream |
//! | [`text_cnn`] | TextCNN (Kim 2014) |
//! | [`parameters`] | named parameters in a fixed order |
//! | [`vectors`] | token vectors from a file, to begin an embedding with |
//! | [`embed`] | sentences to embeddings, dropout off |
//! | [`whitening`] | a head that whitens embeddings after training (Su et al. 2021) |
//! | [`saved`] | an encoder as a directory: weights, configuration, vocabulary, whitening |

pub mod embed;
pub mod encoder;
mod error;
mod initial;
pub mod parameters;
pub mod saved;
pub mod text_cnn;
pub mod vectors;
pub mod whitening;

pub use encoder::{DropoutStream, Mode, SentenceEncoder};
pub use error::{ModelError, Result};
pub use parameters::ParameterSet;
pub use saved::SavedEncoder;
pub use text_cnn::{TextCnn, TextCnnConfig};
pub use whitening::Whitening;

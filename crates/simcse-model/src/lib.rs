//! Sentence encoders: ragged token batches in, embeddings `[rows, D]` out.
//!
//! | module | what |
//! |---|---|
//! | [`encoder`] | the contract [`SentenceEncoder`], and [`Mode`] with its dropout stream |
//! | [`text_cnn`] | TextCNN (Kim 2014) |
//! | [`transformer`] | BERT, ALBERT and RoBERTa, from published weights |
//! | [`initial`] | initial values, from the run's own streams |
//! | [`parameters`] | named parameters in a fixed order |
//! | [`vectors`] | token vectors from a file, to begin an embedding with |
//! | [`embed`] | sentences to embeddings, dropout off |
//! | [`whitening`] | a head that whitens embeddings after training (Su et al. 2021) |
//! | [`saved`] | an encoder as a directory; a transformer's loads in sentence-transformers |
//!
//! ```no_run
//! let encoder = simcse_model::SavedEncoder::load("out/runs/textcnn/mine-s1/encoder".as_ref())?;
//! let rows = encoder.embed(&["花呗怎么还款", "如何偿还花呗"])?.embeddings;
//! assert_eq!(rows.len(), 2 * encoder.embedding_size());
//! # Ok::<(), simcse_model::ModelError>(())
//! ```

pub mod embed;
pub mod encoder;
mod error;
pub mod initial;
pub mod parameters;
pub mod saved;
pub mod text_cnn;
pub mod transformer;
pub mod vectors;
pub mod whitening;

pub use encoder::{DropoutStream, Mode, SentenceEncoder, TokenEncoder};
pub use error::{ModelError, Result};
pub use parameters::ParameterSet;
pub use saved::{Encoder, SavedEncoder, Tokenizer};
pub use text_cnn::{TextCnn, TextCnnConfig};
pub use transformer::{DropoutRates, Pooling, Transformer, TransformerConfig, TransformerOptions};
pub use whitening::Whitening;

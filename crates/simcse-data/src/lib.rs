//! From text files to ragged token batches; knows no tensor library.
//!
//! ```text
//! DataSource ── load_pairs / load_triplets / load_nli / load_sentences ──► DataSet (rows + files + remarks)
//!                                     │
//!                        Corpus (unique sentences, test text removed)
//!                                     │ SentenceTokenizer          BatchSampler (which rows)   Augmenter
//!                                     ▼                                 ▼                        ▼
//!                              Tokenized sequences ───────────────► TokenBatch (ids + offsets, views known)
//! ```
//! [`ModelSource`] finds the files of a pretrained encoder, [`PretrainedTokenizer`] is its tokenizer, and
//! [`TokenMasker`] hides tokens for masked language modelling.
//!
//! Every reader survives the traps of published copies (CRLF, byte order marks, stray quotes, extra
//! columns) and says what it dropped; what it cannot read is an error with file, line and mend.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that fails may panic"))]

mod augment;
mod batch;
pub mod catalog;
mod classes;
mod corpus;
mod error;
mod files;
pub mod formats;
mod hub;
mod labelled;
mod load;
mod manifest;
mod masking;
mod model_source;
mod nli;
mod partition;
mod pretrained;
mod read;
mod rows;
pub mod sample;
mod sampler;
mod shuffle;
mod source;
mod source_name;
mod text;
mod tokenize;
mod vocabulary;

pub use augment::{AugmentationConfig, Augmenter};
pub use batch::{TokenBatch, TokenRow};
pub use classes::SentenceClasses;
pub use corpus::{Corpus, CorpusConfig, CorpusReport, ExampleCount, RemovedSentences, SourceCount};
pub use error::{DataError, Result};
pub use files::{sha256_hex, write_whole};
pub use hub::HubOptions;
pub use labelled::{Example, ExampleKind, LabelledCorpus};
pub use load::{
    DataSet, NliSet, PairSet, SentenceSet, Subset, TripletSet, load_nli, load_pairs, load_sentences,
    load_triplets,
};
pub use manifest::{DataManifest, EvaluationRecord, LengthBin, Overlap, length_histogram, overlap};
pub use masking::{MaskedTokens, TokenMasker};
pub use model_source::{ModelFiles, ModelSource, weight_files};
pub use nli::{TripletOptions, triplets_from_nli};
pub use partition::PartitionedSampler;
pub use pretrained::PretrainedTokenizer;
pub use rows::{NliLabel, NliPair, ScoredPair, Split, Triplet};
pub use sampler::{BatchSampler, LastBatch, Position, SampledBatch};
pub use source::{DataSource, FileRecord, Origin};
pub use source_name::SourceName;
pub use text::sentence_key;
pub use tokenize::{CharacterPieces, Encoded, SentenceTokenizer, Tokenized};
pub use vocabulary::{TokenUnit, Vocabulary, VocabularyConfig};

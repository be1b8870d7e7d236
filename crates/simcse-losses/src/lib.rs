//! Losses over sentence embeddings.

//! Tables from recorded runs, spliced into documents.

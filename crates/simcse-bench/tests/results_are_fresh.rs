//! The committed tables are those that the committed runs make.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

#[test]
fn results_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let stale = simcse_bench::report::generate(&root).unwrap().stale().unwrap();
    assert!(stale.is_empty(), "stale: {stale:?}; fix: run `just tables` and commit what it writes");
}

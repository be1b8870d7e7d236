//! Writes the bundled sample anew from its templates:
//!
//! ```text
//! cargo run -p simcse-data --example make_sample
//! ```
//! A test compares the committed files with what this writes.

#[path = "../sample/generator.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses more of it than this program")]
mod generator;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let sample = generator::generate()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    for (file, contents) in
        [("sentences.txt", &sample.sentences), ("dev.tsv", &sample.dev), ("test.tsv", &sample.test)]
    {
        simcse_data::write_whole(&folder.join(file), contents.as_bytes())?;
    }
    Ok(())
}

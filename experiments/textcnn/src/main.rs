//! TextCNN.
fn main() {}

//! A tiny transformer and small labelled files in the world of these tests.

#[path = "../../../../crates/simcse-bench/tests/support/transformer.rs"]
pub(crate) mod transformer;
#[path = "../../../../crates/simcse-bench/tests/support/world.rs"]
pub(crate) mod world;

use transformer::{CHECKPOINT, INFO_NCE, config, write_checkpoint};
use world::pairs;
pub(crate) use world::{World, assert_says, error_line};

const RUN: &str = "runs/bert-sup/small-s1";
/// Triplets of the made-up sentences.
pub(crate) const TRIPLETS: usize = 40;

/// Made-up sentences: rows of [`pairs`] are first, second, label.
fn sentences(first: usize, count: usize) -> Vec<String> {
    let text = String::from_utf8(pairs(first, count)).unwrap();
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// `sent0,sent1,hard_neg`: a sentence, the same with 吗, another one. Every fourth has no hard negative.
pub(crate) fn triplets() -> String {
    let (anchors, others) = (sentences(1000, TRIPLETS), sentences(2000, TRIPLETS));
    let row = |number: usize| {
        let hard_negative = if number.is_multiple_of(4) { "" } else { &others[number] };
        format!("{0},{0}吗,{hard_negative}\n", anchors[number])
    };
    let rows: String = (0..TRIPLETS).map(row).collect();
    format!("sent0,sent1,hard_neg\n{rows}")
}

/// An entailment and a contradiction of each premise.
pub(crate) fn nli() -> String {
    let (premises, others) = (sentences(1000, TRIPLETS), sentences(2000, TRIPLETS));
    let line = |premise: &str, hypothesis: &str, label: &str| {
        let row = serde_json::json!({ "sentence1": premise, "sentence2": hypothesis, "gold_label": label });
        format!("{row}\n")
    };
    let rows = |(premise, other): (&String, &String)| {
        line(premise, &format!("{premise}吗"), "entailment")
            + &line(premise, other, "contradiction")
            + &line(premise, "天", "neutral")
    };
    premises.iter().zip(&others).map(rows).collect()
}

impl World {
    /// A checkpoint of two layers, and 12 steps on `own/NAME` with `content` under this key of `[data]`.
    pub(crate) fn labelled(key: &str, name: &str, content: &[u8], loss: &str) -> Self {
        let config = config("bert-sup", &format!("{key} = [\"own/{name}\"]"), loss);
        let world = Self::with(env!("CARGO_BIN_EXE_exp-bert-sup"), RUN, &config);
        write_checkpoint(&world, CHECKPOINT, 2);
        world.write(&format!("own/{name}"), content);
        world
    }

    /// Triplets as CSV.
    pub(crate) fn triplets(content: &str) -> Self {
        let loss = format!("{INFO_NCE}hard_negative_weight = 1.0\n");
        Self::labelled("triplets", "triplets.csv", content.as_bytes(), &loss)
    }

    /// Scored pairs.
    pub(crate) fn pairs(content: &[u8]) -> Self {
        Self::labelled("pairs", "pairs.tsv", content, "kind = \"cosent\"\nscale = 20.0\n")
    }
}

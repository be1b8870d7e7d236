//! Triplets from labelled NLI pairs: the supervised training data of SimCSE (Gao et al. 2021, section 4).

use crate::rows::{NliLabel, NliPair, Triplet};
use crate::text::sentence_key;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which triplets are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TripletOptions {
    /// Most triplets of one premise; `None` is no limit, 1 is one per premise.
    pub per_premise: Option<usize>,
    /// Keep premises that nothing contradicts, without a hard negative.
    pub allow_missing_hard_negative: bool,
}

/// For each premise, in the order of first appearance: its entailed sentences in turn, each with a
/// contradicting one (the contradictions go round if they are fewer). Premises are equal by
/// [`sentence_key`]; neutral pairs are not used. A hypothesis equal to its premise, or standing as entailed
/// and as contradicting, is left out.
pub fn triplets_from_nli(pairs: &[NliPair], options: TripletOptions) -> Vec<Triplet> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut premises: Vec<Premise<'_>> = Vec::new();
    for pair in pairs {
        let place = *places.entry(sentence_key(&pair.premise)).or_insert_with(|| {
            premises.push(Premise { text: &pair.premise, entailed: Vec::new(), contradicting: Vec::new() });
            premises.len() - 1
        });
        premises[place].add(&pair.hypothesis, pair.label);
    }
    premises.iter().flat_map(|premise| premise.triplets(options)).collect()
}

struct Premise<'a> {
    text: &'a str,
    entailed: Vec<&'a str>,
    contradicting: Vec<&'a str>,
}

impl<'a> Premise<'a> {
    fn add(&mut self, hypothesis: &'a str, label: NliLabel) {
        let list = match label {
            NliLabel::Entailment => &mut self.entailed,
            NliLabel::Contradiction => &mut self.contradicting,
            NliLabel::Neutral => return,
        };
        let key = sentence_key(hypothesis);
        let is_new = list.iter().all(|other| sentence_key(other) != key);
        if is_new && key != sentence_key(self.text) {
            list.push(hypothesis);
        }
    }

    fn triplets(&self, options: TripletOptions) -> Vec<Triplet> {
        let disputed = |sentence: &&&str| {
            self.contradicting.iter().any(|other| sentence_key(other) == sentence_key(sentence))
        };
        let entailed: Vec<&str> =
            self.entailed.iter().filter(|sentence| !disputed(sentence)).copied().collect();
        let agreed = |sentence: &&&str| {
            self.entailed.iter().all(|other| sentence_key(other) != sentence_key(sentence))
        };
        let contradicting: Vec<&str> = self.contradicting.iter().filter(agreed).copied().collect();
        if contradicting.is_empty() && !options.allow_missing_hard_negative {
            return Vec::new();
        }
        let mut hard_negatives = contradicting.iter().cycle();
        let triplet = |positive: &str| Triplet {
            anchor: self.text.to_owned(),
            positive: positive.to_owned(),
            hard_negative: hard_negatives.next().map(|sentence| (*sentence).to_owned()),
        };
        entailed.into_iter().take(options.per_premise.unwrap_or(usize::MAX)).map(triplet).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NliLabel::{Contradiction, Entailment, Neutral};

    fn build(
        pairs: &[(&str, &str, NliLabel)],
        options: TripletOptions,
    ) -> Vec<(String, String, Option<String>)> {
        let pairs: Vec<NliPair> = pairs
            .iter()
            .map(|&(premise, hypothesis, label)| NliPair {
                premise: premise.into(),
                hypothesis: hypothesis.into(),
                label,
            })
            .collect();
        let triplets = triplets_from_nli(&pairs, options);
        triplets
            .into_iter()
            .map(|triplet| (triplet.anchor, triplet.positive, triplet.hard_negative))
            .collect()
    }

    fn triplet(
        anchor: &str,
        positive: &str,
        hard_negative: Option<&str>,
    ) -> (String, String, Option<String>) {
        (anchor.into(), positive.into(), hard_negative.map(str::to_owned))
    }

    const ALL: TripletOptions = TripletOptions { per_premise: None, allow_missing_hard_negative: false };

    const PAIRS: [(&str, &str, NliLabel); 7] = [
        ("p", "e1", Entailment),
        ("q", "f1", Entailment),
        ("p", "c1", Contradiction),
        ("p", "n", Neutral),
        ("p ", "e2", Entailment),
        ("p", "c2", Contradiction),
        ("p", "e3", Entailment),
    ];

    #[test]
    fn entailed_sentences_get_contradictions_in_turn() {
        let expected =
            [triplet("p", "e1", Some("c1")), triplet("p", "e2", Some("c2")), triplet("p", "e3", Some("c1"))];
        assert_eq!(build(&PAIRS, ALL), expected);
        assert_eq!(build(&PAIRS, TripletOptions { per_premise: Some(1), ..ALL }), expected[..1]);
    }

    #[test]
    fn premises_without_contradiction_are_kept_on_request() {
        let options = TripletOptions { per_premise: Some(1), allow_missing_hard_negative: true };
        assert_eq!(build(&PAIRS, options), [triplet("p", "e1", Some("c1")), triplet("q", "f1", None)]);
    }

    #[test]
    fn hypotheses_that_are_the_premise_or_disputed_are_left_out() {
        let pairs = [
            ("p", "P", Entailment),
            ("p", "both", Entailment),
            ("p", "both", Contradiction),
            ("p", "e", Entailment),
            ("p", "e", Entailment),
            ("p", "c", Contradiction),
        ];
        assert_eq!(build(&pairs, ALL), [triplet("p", "e", Some("c"))]);
    }
}

//! Every augmentation does what its rate says, and leaves special tokens alone.

use super::*;

const CLS: u32 = 101;
const SEP: u32 = 102;

fn augmented(config: AugmentationConfig, ids: &[u32], number: u64) -> Vec<u32> {
    let stream = Stream::from_seed(3).named("augment").fold(number);
    Augmenter::new(config, &[CLS, SEP]).unwrap().augment(ids, stream)
}

fn is_subsequence(part: &[u32], whole: &[u32]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|id| rest.any(|other| other == id))
}

const EVERYTHING: AugmentationConfig = AugmentationConfig {
    character_split: 0.0,
    crop: 0.9,
    span_deletion: 0.9,
    deletion: 0.9,
    deleted_tokens: 3,
    masking: 0.0,
    repetition: 0.9,
    shuffle_window: 3,
    full_shuffle: 1.0,
};

#[test]
fn off_changes_nothing() {
    let ids: Vec<u32> = (1..30).collect();
    assert!(AugmentationConfig::OFF.is_off() && !EVERYTHING.is_off());
    assert_eq!(augmented(AugmentationConfig::OFF, &ids, 0), ids);
}

#[test]
fn no_sentence_is_emptied_and_special_tokens_stay() {
    for length in 1..12_u32 {
        let ids: Vec<u32> = [CLS].into_iter().chain(1..=length).chain([SEP]).collect();
        for number in 0..200 {
            let result = augmented(EVERYTHING, &ids, number);
            assert!(result.len() >= 3, "{result:?}");
            assert_eq!((result[0], result[result.len() - 1]), (CLS, SEP));
        }
    }
    assert_eq!(augmented(EVERYTHING, &[CLS, SEP], 0), [CLS, SEP]);
    assert!(augmented(EVERYTHING, &[], 0).is_empty());
}

#[test]
fn same_stream_same_result_other_stream_other_result() {
    let ids: Vec<u32> = (1..40).collect();
    let config = AugmentationConfig { deletion: 0.3, ..AugmentationConfig::OFF };
    assert_eq!(augmented(config, &ids, 1), augmented(config, &ids, 1));
    assert_ne!(augmented(config, &ids, 1), augmented(config, &ids, 2));
}

#[test]
fn deletion_deletes_at_its_rate_and_keeps_the_order() {
    let ids: Vec<u32> = (200..300).collect();
    let config = AugmentationConfig { deletion: 0.2, ..AugmentationConfig::OFF };
    let results: Vec<Vec<u32>> = (0..200).map(|number| augmented(config, &ids, number)).collect();
    assert!(results.iter().all(|result| is_subsequence(result, &ids)));
    let kept: usize = results.iter().map(Vec::len).sum();
    // 20,000 tokens, p = 0.8: five standard deviations are 283.
    assert!(kept.abs_diff(16_000) < 283, "{kept}");
}

#[test]
fn as_many_tokens_as_asked_for_are_deleted_and_one_is_left() {
    let ids: Vec<u32> = (200..210).collect();
    let mut gone = std::collections::BTreeSet::<u32>::new();
    for number in 0..200 {
        let config = AugmentationConfig { deleted_tokens: 1, ..AugmentationConfig::OFF };
        let result = augmented(config, &ids, number);
        assert!(result.len() == 9 && is_subsequence(&result, &ids), "{result:?}");
        gone.extend(ids.iter().filter(|id| !result.contains(id)));
        let config = AugmentationConfig { deleted_tokens: 20, ..AugmentationConfig::OFF };
        assert_eq!(augmented(config, &ids, number).len(), 1);
    }
    assert_eq!(gone.len(), 10, "every token can go");
}

#[test]
fn tokens_are_masked_at_the_rate_where_there_is_a_mask() {
    let config = AugmentationConfig { masking: 0.25, ..AugmentationConfig::OFF };
    let error = Augmenter::new(config, &[]).unwrap_err().to_string();
    assert!(error.starts_with("augmentation.masking: the tokenizer has no mask token; fix: "), "{error}");
    let pieces = CharacterPieces::new();
    let augmenter = Augmenter::with_vocabulary(config, &[CLS, SEP], pieces, Some(103), 99).unwrap();
    let ids: Vec<u32> = [CLS].into_iter().chain(200..220).chain([SEP]).collect();
    let results = (0..500).map(|number| augmenter.augment(&ids, Stream::from_seed(6).fold(number)));
    let results: Vec<Vec<u32>> = results.collect();
    assert!(results.iter().all(|result| result.len() == 22 && result[0] == CLS && result[21] == SEP));
    let same = |result: &&Vec<u32>| result.iter().zip(&ids).all(|(now, then)| now == then || *now == 103);
    assert!(results.iter().all(|result| same(&result)));
    let masked = results.iter().flatten().filter(|id| **id == 103).count();
    // 10,000 tokens, p = .25: five standard deviations are 217.
    assert!(masked.abs_diff(2500) < 217, "{masked}");
}

#[test]
fn crop_and_span_take_exactly_their_share() {
    let ids: Vec<u32> = (200..220).collect();
    let crops = AugmentationConfig { crop: 0.25, ..AugmentationConfig::OFF };
    let spans = AugmentationConfig { span_deletion: 0.25, ..AugmentationConfig::OFF };
    let mut starts = std::collections::BTreeSet::new();
    for number in 0..200 {
        let cropped = augmented(crops, &ids, number);
        assert_eq!((cropped.len(), cropped[14] - cropped[0]), (15, 14), "one contiguous piece");
        starts.insert(cropped[0]);
        let spanned = augmented(spans, &ids, number);
        let gaps = spanned.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        assert!(spanned.len() == 15 && gaps <= 1, "{spanned:?}");
    }
    assert_eq!(starts.len(), 6, "every start is possible");
}

/// The distribution of ESimCSE's `word_repetition` (`dup_len = randint(0, max(2, int(dup_rate * N)))`).
#[test]
fn repetition_doubles_zero_to_the_limit_uniformly() {
    let config = AugmentationConfig { repetition: 0.32, ..AugmentationConfig::OFF };
    for (length, most) in [(4_u32, 2), (10, 3), (20, 6)] {
        let ids: Vec<u32> = (200..200 + length).collect();
        let mut counts = vec![0_u32; most + 1];
        for number in 0..4200 {
            let mut result = augmented(config, &ids, number);
            counts[result.len() - ids.len()] += 1;
            result.dedup();
            assert_eq!(result, ids, "repeats stand beside their word");
        }
        let expected = 4200 / (most as u32 + 1);
        assert!(counts.iter().all(|count| count.abs_diff(expected) < 160), "{counts:?}");
    }
}

#[test]
fn local_shuffle_stays_in_its_windows() {
    let ids: Vec<u32> = (200..220).collect();
    let config = AugmentationConfig { shuffle_window: 4, ..AugmentationConfig::OFF };
    let result = augmented(config, &ids, 0);
    assert_ne!(result, ids);
    for (window, original) in result.chunks(4).zip(ids.chunks(4)) {
        let mut sorted = window.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, original);
    }
}

#[test]
fn full_shuffle_happens_at_its_probability() {
    let ids: Vec<u32> = (200..220).collect();
    let config = AugmentationConfig { full_shuffle: 0.25, ..AugmentationConfig::OFF };
    let shuffled = (0..1000).filter(|&number| augmented(config, &ids, number) != ids).count();
    assert!(shuffled.abs_diff(250) < 69, "{shuffled}");
}

/// Writes token 7 as 70 71 72; every other token is a character.
fn split(rate: f64, most_tokens: usize, ids: &[u32], number: u64) -> Vec<u32> {
    let config = AugmentationConfig { character_split: rate, ..AugmentationConfig::OFF };
    let pieces = CharacterPieces::from([(7, vec![70, 71, 72])]);
    let augmenter = Augmenter::with_vocabulary(config, &[CLS, SEP], pieces, None, most_tokens).unwrap();
    augmenter.augment(ids, Stream::from_seed(5).fold(number))
}

#[test]
fn tokens_are_split_into_their_characters_at_the_rate() {
    assert_eq!(split(1.0, 99, &[CLS, 1, 7, 2, 7, SEP], 0), [CLS, 1, 70, 71, 72, 2, 70, 71, 72, SEP]);
    let results: Vec<Vec<u32>> = (0..500).map(|number| split(0.25, 99, &[7; 20], number)).collect();
    let chosen: usize = results.iter().map(|result| (result.len() - 20) / 2).sum();
    // 10,000 tokens, p = .25: five standard deviations are 217.
    assert!(chosen.abs_diff(2500) < 217, "{chosen}");
}

#[test]
fn splitting_stops_where_the_encoder_reads_no_further() {
    assert_eq!(split(1.0, 8, &[7, 7, 7, 1], 0), [70, 71, 72, 70, 71, 72, 7, 1]);
    assert_eq!(split(1.0, 3, &[7, 7, 7, 1], 0), [7, 7, 7, 1], "already too long");
    assert_eq!(split(1.0, 6, &[CLS, 7, 7, SEP], 0), [CLS, 70, 71, 72, 7, SEP], "special tokens count");
}

#[test]
fn a_vocabulary_of_characters_has_nothing_to_split() {
    let config = AugmentationConfig { character_split: 0.5, ..AugmentationConfig::OFF };
    let error = Augmenter::new(config, &[]).unwrap_err().to_string();
    assert!(error.starts_with("augmentation.character_split: no token of this vocabulary"), "{error}");
}

#[test]
fn rates_out_of_range_name_their_key() {
    let config = AugmentationConfig { deletion: 1.0, ..AugmentationConfig::OFF };
    let error = Augmenter::new(config, &[]).unwrap_err().to_string();
    assert_eq!(error, "augmentation.deletion: 1 is out of range; fix: choose a value in [0, 1)");
    assert!(AugmentationConfig { crop: f64::NAN, ..AugmentationConfig::OFF }.validate().is_err());
}

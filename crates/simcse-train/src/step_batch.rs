//! The sentences of one step.

use std::ops::Range;

use anyhow::{Result, ensure};
use simcse_data::TokenBatch;
use simcse_losses::RowGroups;

/// The sentences of one step: `B` anchors and their `B` positives, and hard negatives where there are some; or, for a
/// loss over classes, `B` sentences in any number of views.
///
/// | rows of `tokens` | view | what |
/// |---|---|---|
/// | `0..B` | 0 | anchors; of labelled pairs, the first sentences |
/// | `B..2B` | 1 | positives in the same order; of labelled pairs, the second sentences |
/// | `2B..` | 2 | hard negatives, each of the anchor that `hard_negative_owners` names |
#[derive(Debug, Clone)]
pub struct StepBatch {
    /// Token ids of all rows.
    pub tokens: TokenBatch,
    /// Number of anchors `B`.
    pub sentences: usize,
    /// Views of each: 2 for anchors and positives. View `v` is the rows `v · B` to `(v + 1) · B`.
    pub views: usize,
    /// For each row a number that equal texts share; a loss masks equal sentences by it.
    pub groups: Vec<u32>,
    /// For each row after the first `2B` the anchor whose hard negative it is; empty without hard negatives.
    pub hard_negative_owners: Vec<u32>,
    /// Gold similarity of each pair, `[B]`; empty where the loss knows no labels.
    pub gold: Vec<f32>,
}

impl StepBatch {
    /// Rows of the anchors.
    pub fn anchors(&self) -> Range<usize> {
        0..self.sentences
    }

    /// Rows of the positives; a sentence with a single view is its own positive.
    pub fn positives(&self) -> Range<usize> {
        let first = self.sentences * usize::from(self.views > 1);
        first..first + self.sentences
    }

    /// Rows of the hard negatives.
    pub fn hard_negatives(&self) -> Range<usize> {
        self.views * self.sentences..self.tokens.rows()
    }

    /// Which texts are equal, by the role of their rows.
    pub(crate) fn row_groups(&self) -> RowGroups<'_> {
        RowGroups {
            anchors: &self.groups[self.anchors()],
            positives: &self.groups[self.positives()],
            hard: &self.groups[self.hard_negatives()],
        }
    }

    /// Fails when the parts do not fit together: a mistake of the batch's source, which a loss would take for
    /// other sentences.
    pub(crate) fn validate(&self) -> Result<()> {
        let Self { tokens, sentences, views, groups, hard_negative_owners, gold } = self;
        let (rows, hard) = (tokens.rows(), hard_negative_owners.len());
        ensure!(
            rows == views * sentences + hard,
            "the batch has {rows} rows for {views} views of {sentences} anchors and {hard} hard negatives; fix: give \
             a row for each view of an anchor and one for each owner"
        );
        let view = |row: usize| (row / sentences.max(&1)).min(*views) as u32;
        ensure!(
            tokens.view().iter().enumerate().all(|(row, found)| *found == view(row)),
            "the rows of the batch are not anchors (view 0), positives (view 1), hard negatives (view 2); fix: \
             put them in this order"
        );
        ensure!(
            groups.len() == rows,
            "the batch has {} groups for {rows} rows; fix: give one for each row",
            groups.len()
        );
        if let Some(owner) = hard_negative_owners.iter().find(|owner| **owner as usize >= *sentences) {
            anyhow::bail!(
                "a hard negative of anchor {owner} in a batch of {sentences}; fix: count anchors from 0 within \
                 the batch"
            );
        }
        ensure!(
            gold.is_empty() || gold.len() == *sentences,
            "the batch has {} gold values for {sentences} pairs; fix: give one for each pair, or none",
            gold.len()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simcse_data::TokenRow;

    /// Three anchors; the second and the third have a hard negative.
    fn batch() -> StepBatch {
        let ids: Vec<Vec<u32>> = (0..8).map(|row| vec![row + 2]).collect();
        let places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (1, 2), (2, 2)];
        let rows: Vec<TokenRow<'_>> =
            ids.iter().zip(places).map(|(ids, (sentence, view))| TokenRow { ids, sentence, view }).collect();
        StepBatch {
            tokens: TokenBatch::from_rows(&rows).unwrap(),
            sentences: 3,
            views: 2,
            groups: (10..18).collect(),
            hard_negative_owners: vec![1, 2],
            gold: Vec::new(),
        }
    }

    #[test]
    fn each_role_has_its_rows() {
        let batch = batch();
        batch.validate().unwrap();
        let groups = batch.row_groups();
        assert_eq!(
            (groups.anchors, groups.positives, groups.hard),
            ([10, 11, 12].as_slice(), [13, 14, 15].as_slice(), [16, 17].as_slice())
        );
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        type Change = fn(&mut StepBatch);
        let cases: [(&str, Change); 5] = [
            ("8 rows for 2 views of 3 anchors and 1 hard negatives", |batch| {
                batch.hard_negative_owners = vec![1]
            }),
            ("not anchors (view 0)", |batch| {
                (batch.sentences, batch.hard_negative_owners) = (2, vec![0, 0, 1, 1]);
            }),
            ("7 groups for 8 rows", |batch| batch.groups = vec![0; 7]),
            ("hard negative of anchor 3 in a batch of 3", |batch| batch.hard_negative_owners[1] = 3),
            ("2 gold values for 3 pairs", |batch| batch.gold = vec![0.0; 2]),
        ];
        for (wanted, change) in cases {
            let mut batch = batch();
            change(&mut batch);
            let line = batch.validate().unwrap_err().to_string();
            assert!(line.contains(wanted) && line.contains("; fix: ") && !line.contains('\n'), "{line}");
        }
    }
}

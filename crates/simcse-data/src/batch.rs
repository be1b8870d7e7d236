//! Ragged batches: the tokens of all rows laid end to end.

use crate::error::{DataError, Result};
use std::collections::BTreeSet;
use std::ops::Range;

/// Rows of token ids without padding. Row `r` is `ids[offsets[r]..offsets[r + 1]]`.
///
/// A row is one *view* of one sentence of the batch. From [`TokenBatch::from_sequences`],
/// [`TokenBatch::from_views`] and [`TokenBatch::with_views`] rows stand view by view: all sentences of view 0,
/// then all of view 1, and so on, so embeddings `[V·B, D]` split into views by halves. From
/// [`TokenBatch::from_rows`] they stand as given, and views may differ in their sentences. The numbers of view
/// and sentence travel with a row into slices, so that random streams keyed by them do not change when a
/// batch is computed in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    offsets: Vec<u32>,
    sentence: Vec<u32>,
    view: Vec<u32>,
}

/// One row of a batch to be made by [`TokenBatch::from_rows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRow<'a> {
    /// Token ids; at least one.
    pub ids: &'a [u32],
    /// Number of the sentence within its view.
    pub sentence: u32,
    /// Number of the view.
    pub view: u32,
}

impl TokenBatch {
    /// Rows in the order given, each with its own numbers: anchors as view 0, positives as view 1, hard
    /// negatives, of which there may be fewer, as view 2. Views need neither stand together nor hold equally
    /// many sentences. Two rows with the same two numbers get the same random draws (dropout, masking).
    ///
    /// # Errors
    /// [`DataError::Batch`] if there is no row, one is empty, or there are more than `u32::MAX` tokens.
    pub fn from_rows(rows: &[TokenRow<'_>]) -> Result<Self> {
        if rows.is_empty() {
            return Err(DataError::Batch("it has no row".to_owned()));
        }
        let mut batch = Self::with_capacity(rows.len());
        for row in rows {
            batch.push(*row)?;
        }
        Ok(batch)
    }

    /// One view of each sequence, in order.
    ///
    /// # Errors
    /// [`DataError::Batch`] if there is no sequence, one is empty, or there are more than `u32::MAX` tokens.
    pub fn from_sequences<S: AsRef<[u32]>>(sequences: &[S]) -> Result<Self> {
        Self::assemble(&[sequences])
    }

    /// Several views whose ids differ (augmentation); `views[v][s]` is view `v` of sentence `s`.
    ///
    /// # Errors
    /// As [`TokenBatch::from_sequences`], and if the views differ in their number of sentences.
    pub fn from_views<S: AsRef<[u32]>>(views: &[Vec<S>]) -> Result<Self> {
        let views: Vec<&[S]> = views.iter().map(Vec::as_slice).collect();
        Self::assemble(&views)
    }

    fn assemble<S: AsRef<[u32]>>(views: &[&[S]]) -> Result<Self> {
        let sentences = views.first().map_or(0, |view| view.len());
        if sentences == 0 {
            return Err(DataError::Batch("it has no sentence".to_owned()));
        }
        let mut batch = Self::with_capacity(sentences * views.len());
        for (view, sequences) in views.iter().enumerate() {
            if sequences.len() != sentences {
                let found = sequences.len();
                return Err(DataError::Batch(format!(
                    "view {view} has {found} sentences, view 0 has {sentences}"
                )));
            }
            for (sentence, sequence) in sequences.iter().enumerate() {
                let (sentence, view) = (number(sentence, "sentences")?, number(view, "views")?);
                batch.push(TokenRow { ids: sequence.as_ref(), sentence, view })?;
            }
        }
        Ok(batch)
    }

    fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let (sentence, view) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { ids: Vec::new(), offsets, sentence, view }
    }

    fn push(&mut self, row: TokenRow<'_>) -> Result<()> {
        let TokenRow { ids, sentence, view } = row;
        if ids.is_empty() {
            return Err(DataError::Batch(format!("sentence {sentence} of view {view} has no token")));
        }
        self.ids.extend_from_slice(ids);
        self.offsets.push(number(self.ids.len(), "tokens")?);
        self.sentence.push(sentence);
        self.view.push(view);
        Ok(())
    }

    /// The same sentences `views` times: rows of view 0, then of view 1, … Needs a batch of one view.
    ///
    /// # Errors
    /// [`DataError::Batch`] if `views` is 0, the batch has several views already, or the tokens are too many.
    pub fn with_views(&self, views: usize) -> Result<Self> {
        if views == 0 || self.views() != 1 {
            let found = self.views();
            return Err(DataError::Batch(format!("{views} views wanted of a batch with {found} views")));
        }
        let sequences: Vec<&[u32]> = (0..self.rows()).map(|row| self.row(row)).collect();
        let mut batch = Self::assemble(&vec![sequences.as_slice(); views])?;
        batch.sentence = self.sentence.repeat(views);
        Ok(batch)
    }

    /// The rows of `range`, with their numbers of sentence and view kept: a piece of a larger batch, as the
    /// gradient cache computes it.
    ///
    /// # Errors
    /// [`DataError::Batch`] if the range is empty or reaches beyond the rows.
    pub fn slice(&self, range: Range<usize>) -> Result<Self> {
        if range.is_empty() || range.end > self.rows() {
            let rows = self.rows();
            return Err(DataError::Batch(format!("rows {}..{} of {rows}", range.start, range.end)));
        }
        let start = self.offsets[range.start];
        let tokens = start as usize..self.offsets[range.end] as usize;
        Ok(Self {
            ids: self.ids[tokens].to_vec(),
            offsets: self.offsets[range.start..=range.end].iter().map(|offset| offset - start).collect(),
            sentence: self.sentence[range.clone()].to_vec(),
            view: self.view[range].to_vec(),
        })
    }

    /// The same rows with other tokens, as many as before.
    pub(crate) fn with_ids(&self, ids: Vec<u32>) -> Self {
        debug_assert_eq!(ids.len(), self.ids.len(), "rows keep their lengths");
        Self { ids, ..self.clone() }
    }

    /// Token ids of all rows end to end, `[T]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where rows begin and end in [`TokenBatch::ids`], `[R + 1]`, from 0 to `T`, strictly rising.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Number of the sentence of each row within its view, `[R]`.
    pub fn sentence(&self) -> &[u32] {
        &self.sentence
    }

    /// Number of the view of each row, `[R]`.
    pub fn view(&self) -> &[u32] {
        &self.view
    }

    /// Number of rows `R`.
    pub fn rows(&self) -> usize {
        self.sentence.len()
    }

    /// Number of tokens `T`.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of different views among the rows.
    pub fn views(&self) -> usize {
        self.view.iter().collect::<BTreeSet<_>>().len()
    }

    /// Tokens of the longest row.
    pub fn longest(&self) -> usize {
        self.offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0)
    }

    /// Token ids of one row. Panics beyond [`TokenBatch::rows`], like indexing.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.ids[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

fn number(value: usize, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| DataError::Batch(format!("{value} {what} are more than fit in 32 bits")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> TokenBatch {
        TokenBatch::from_sequences(&[vec![7, 8, 9], vec![5], vec![3, 4]]).unwrap()
    }

    #[test]
    fn sequences_lie_end_to_end() {
        let batch = batch();
        assert_eq!(batch.ids(), [7, 8, 9, 5, 3, 4]);
        assert_eq!(batch.offsets(), [0, 3, 4, 6]);
        assert_eq!((batch.rows(), batch.tokens(), batch.longest(), batch.views()), (3, 6, 3, 1));
        assert_eq!((batch.row(0), batch.row(2)), ([7, 8, 9].as_slice(), [3, 4].as_slice()));
    }

    #[test]
    fn views_are_view_major() {
        let batch = batch().with_views(2).unwrap();
        assert_eq!(batch.ids(), [7, 8, 9, 5, 3, 4, 7, 8, 9, 5, 3, 4]);
        assert_eq!(batch.sentence(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(batch.view(), [0, 0, 0, 1, 1, 1]);
        assert_eq!(batch.views(), 2);
    }

    #[test]
    fn equal_views_written_out_give_the_same_batch() {
        let sequences = vec![vec![7, 8, 9], vec![5], vec![3, 4]];
        let written_out = TokenBatch::from_views(&[sequences.clone(), sequences]).unwrap();
        assert_eq!(written_out, batch().with_views(2).unwrap());
    }

    #[test]
    fn rows_keep_their_order_and_their_numbers() {
        let row = |ids, sentence, view| TokenRow { ids, sentence, view };
        let triplets =
            [row(&[7, 8], 0, 0), row(&[5], 1, 0), row(&[4], 0, 1), row(&[3], 1, 1), row(&[2, 1], 1, 2)];
        let batch = TokenBatch::from_rows(&triplets).unwrap();
        assert_eq!(
            (batch.ids(), batch.offsets()),
            ([7, 8, 5, 4, 3, 2, 1].as_slice(), [0, 2, 3, 4, 5, 7].as_slice())
        );
        assert_eq!(
            (batch.sentence(), batch.view()),
            ([0, 1, 0, 1, 1].as_slice(), [0, 0, 1, 1, 2].as_slice())
        );
        assert_eq!((batch.rows(), batch.views()), (5, 3));
        let mixed = TokenBatch::from_rows(&[triplets[0], triplets[4], triplets[1], triplets[2]]).unwrap();
        assert_eq!((mixed.view(), mixed.views()), ([0, 2, 0, 1].as_slice(), 3));
        assert_eq!(mixed.slice(1..3).unwrap().views(), 2);
        assert_eq!(mixed.row(1), [2, 1]);
    }

    #[test]
    fn slices_keep_the_numbers_of_sentence_and_view() {
        let slice = batch().with_views(2).unwrap().slice(2..5).unwrap();
        assert_eq!(slice.ids(), [3, 4, 7, 8, 9, 5]);
        assert_eq!(slice.offsets(), [0, 2, 5, 6]);
        assert_eq!((slice.sentence(), slice.view()), ([2, 0, 1].as_slice(), [0, 1, 1].as_slice()));
    }

    #[test]
    fn views_of_a_slice_keep_its_sentence_numbers() {
        let views = batch().slice(1..3).unwrap().with_views(2).unwrap();
        assert_eq!(views.sentence(), [1, 2, 1, 2]);
    }

    #[test]
    fn what_makes_no_batch_is_an_error() {
        assert!(TokenBatch::from_sequences::<Vec<u32>>(&[]).is_err());
        assert!(TokenBatch::from_sequences(&[vec![1], vec![]]).is_err());
        assert!(TokenBatch::from_rows(&[]).is_err());
        assert!(TokenBatch::from_rows(&[TokenRow { ids: &[], sentence: 0, view: 0 }]).is_err());
        assert!(TokenBatch::from_views(&[vec![vec![1]], vec![vec![1], vec![2]]]).is_err());
        let batch = batch();
        assert!(batch.with_views(0).is_err());
        assert!(batch.with_views(2).unwrap().with_views(2).is_err());
        assert!(batch.slice(1..1).is_err());
        assert!(batch.slice(1..4).is_err());
    }
}

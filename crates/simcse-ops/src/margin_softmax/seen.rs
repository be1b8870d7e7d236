//! What forward keeps of the table: some numbers for each row.

/// What the rows have seen of the classes so far, one value of each for every row.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Largest logit, and the sum of e^(logit - largest).
    pub(super) largest: Vec<f32>,
    pub(super) sum: Vec<f32>,
    pub(super) own_cosine: Vec<f32>,
    pub(super) nearest_cosine: Vec<f32>,
    pub(super) nearest: Vec<u32>,
}

impl Seen {
    pub(super) fn nothing(rows: usize) -> Self {
        let lowest = vec![f32::NEG_INFINITY; rows];
        Self {
            largest: lowest.clone(),
            sum: vec![0.0; rows],
            own_cosine: vec![0.0; rows],
            nearest_cosine: lowest,
            nearest: vec![0; rows],
        }
    }

    /// Takes in what `other` saw of later classes.
    pub(super) fn join(&mut self, other: &Self) {
        for row in 0..self.sum.len() {
            let largest = self.largest[row].max(other.largest[row]);
            self.sum[row] = self.sum[row] * (self.largest[row] - largest).exp()
                + other.sum[row] * (other.largest[row] - largest).exp();
            self.largest[row] = largest;
            self.own_cosine[row] += other.own_cosine[row];
            if other.nearest_cosine[row] > self.nearest_cosine[row] {
                (self.nearest_cosine[row], self.nearest[row]) =
                    (other.nearest_cosine[row], other.nearest[row]);
            }
        }
    }

    /// ln Σ e^logit of each row.
    pub(super) fn log_sums(&self) -> Vec<f32> {
        self.largest.iter().zip(&self.sum).map(|(largest, sum)| largest + sum.ln()).collect()
    }
}

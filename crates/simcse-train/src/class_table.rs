//! A table of class centres, of which a step may look at a few: sampled classes as in Partial FC (An et al. 2022, "Killing
//! Two Birds with One Stone", section 3.1).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Tensor, Var};
use rand::seq::index;
use rand_distr::{Distribution as _, Normal};
use simcse_losses::ClassUpdate;
use simcse_ops::adamw::{AdamWStep, Moments, adamw, adamw_rows};
use simcse_ops::gradients::Gradients;
use simcse_ops::linear::Precision;
use simcse_ops::margin_softmax::{
    ClassDiagnostics, Margin, MarginSoftmax, TableMoments, TableUpdate, average_rows, margin_softmax,
    margin_softmax_moving,
};
use simcse_random::Stream;

use crate::Result;
use crate::own_parameter::{self, Kept};

/// Standard deviation of fresh centres. Only their directions count.
const SPREAD: f32 = 0.01;
/// Of the centres in a checkpoint.
const NAME: &str = "class_centres";

/// The centres of all classes and their moments.
#[derive(Debug)]
pub struct ClassTable {
    /// `[C · sub_centres, D]`.
    centres: Var,
    sub_centres: usize,
    /// Shared with the loss under way, whose backward pass moves a table that it sees as a whole.
    moments: Arc<Mutex<TableMoments>>,
    /// Of the same at the end of the last step.
    steps: u64,
}

/// The classes of one step.
#[derive(Debug)]
pub struct SampledClasses {
    /// Rows of the table, rising; `None`: all of them.
    rows: Option<Vec<u32>>,
    /// Their centres, `[S · sub_centres, D]`: what the loss is computed with, and has a gradient.
    pub centres: Var,
    /// The class of each embedding, counted among the sampled ones.
    pub labels: Vec<u32>,
}

impl ClassTable {
    /// Random centres.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn random(classes: usize, sub_centres: usize, size: usize, stream: Stream) -> Result<Self> {
        let count = classes * sub_centres * size;
        if count == 0 {
            return Err(anyhow::anyhow!("{classes} classes of {sub_centres} centres of {size} values").into());
        }
        let mut rng = stream.named("class centres").rng();
        let normal = Normal::new(0.0, SPREAD).map_err(|error| anyhow::anyhow!(error))?;
        let values: Vec<f32> = (0..count).map(|_| normal.sample(&mut rng)).collect();
        Self::new(&Tensor::from_vec(values, (classes * sub_centres, size), &Device::Cpu)?, sub_centres)
    }

    /// These centres, `[C · sub_centres, D]`: embeddings of the sentences, say.
    ///
    /// # Errors
    /// When they cannot be divided into classes.
    pub fn new(centres: &Tensor, sub_centres: usize) -> Result<Self> {
        let (rows, size) = centres.dims2()?;
        if sub_centres == 0 || rows % sub_centres != 0 {
            return Err(anyhow::anyhow!("{rows} centres make no classes of {sub_centres} centres").into());
        }
        let moments = TableMoments { moments: Moments::zeros(rows * size), updates: 0 };
        let centres = Var::from_tensor(centres)?;
        Ok(Self { centres, sub_centres, moments: Arc::new(Mutex::new(moments)), steps: 0 })
    }

    /// Everything that steps change, by name. Fails only where candle does.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        own_parameter::entries(NAME, &self.centres, &self.moments().moments, self.steps)
    }

    /// Puts a [`ClassTable::state`] back. Fails when a part is missing or of another shape.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let Kept { value, moments, steps } = own_parameter::read(NAME, &self.centres, state)?;
        self.centres.set(&value)?;
        self.steps = steps;
        *self.moments() = TableMoments { moments, updates: steps };
        Ok(())
    }

    /// Number of updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.centres.dims()[0] / self.sub_centres
    }

    /// All centres, `[C · sub_centres, D]`.
    pub fn centres(&self) -> &Tensor {
        self.centres.as_tensor()
    }

    /// The classes of `labels` and a random share of the others, all of them at 1.
    ///
    /// # Errors
    /// When a label is no class, or `share` is not in (0, 1].
    pub fn sample(&self, labels: &[u32], share: f64, stream: Stream) -> Result<SampledClasses> {
        let classes = self.classes();
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return Err(anyhow::anyhow!("label {label} for {classes} classes").into());
        }
        if !(share > 0.0 && share <= 1.0) {
            return Err(
                anyhow::anyhow!("a share of {share} of the classes; fix: give a number in (0, 1]").into()
            );
        }
        if share == 1.0 {
            return Ok(SampledClasses { rows: None, centres: self.centres.clone(), labels: labels.to_vec() });
        }
        let chosen = self.choose(labels, share, stream);
        let place = |label: &u32| chosen.partition_point(|class| class < label) as u32;
        let labels = labels.iter().map(place).collect();
        let sub_centres = self.sub_centres as u32;
        let rows: Vec<u32> =
            chosen.iter().flat_map(|class| class * sub_centres..(class + 1) * sub_centres).collect();
        let numbers = Tensor::from_slice(&rows, rows.len(), &Device::Cpu)?;
        let centres = Var::from_tensor(&self.centres.as_detached_tensor().index_select(&numbers, 0)?)?;
        Ok(SampledClasses { rows: Some(rows), centres, labels })
    }

    /// Rising numbers of classes: those of the labels, filled up at random to the share.
    fn choose(&self, labels: &[u32], share: f64, stream: Stream) -> Vec<u32> {
        let classes = self.classes();
        let wanted = ((classes as f64 * share).ceil() as usize).min(classes);
        let mut own = labels.to_vec();
        own.sort_unstable();
        own.dedup();
        let is_own = |class: &u32| own.binary_search(class).is_ok();
        // As many as may be needed; those that are own classes drop out again.
        let mut rng = stream.named("sampled classes").rng();
        let drawn = index::sample(&mut rng, classes, wanted);
        let others = drawn.iter().map(|class| class as u32).filter(|class| !is_own(class));
        let mut chosen: Vec<u32> = others.take(wanted.saturating_sub(own.len())).collect();
        chosen.extend(&own);
        chosen.sort_unstable();
        chosen
    }

    /// The loss of embeddings `[B, D]` over the classes of a step, `[B]`. Its backward pass moves a table that is seen
    /// as a whole by `step`; sampled centres are left to [`ClassTable::update`], and averages to [`ClassTable::average`].
    pub(crate) fn loss(
        &self,
        embeddings: &Tensor,
        sampled: &SampledClasses,
        loss: MarginSoftmax,
        update: ClassUpdate,
        step: AdamWStep,
    ) -> Result<(Tensor, ClassDiagnostics)> {
        let (centres, labels) = (sampled.centres.as_tensor(), &sampled.labels);
        Ok(match (update, &sampled.rows) {
            (ClassUpdate::MovingAverage, _) => margin_softmax(embeddings, &centres.detach(), labels, loss)?,
            (_, Some(_)) => margin_softmax(embeddings, centres, labels, loss)?,
            (_, None) => {
                let update = TableUpdate { state: self.moments.clone(), step };
                margin_softmax_moving(embeddings, centres, labels, loss, update)?
            }
        })
    }

    /// The class with the nearest centre to each embedding of `[B, D]`, among all classes and without a margin.
    ///
    /// # Errors
    /// When the embeddings have another size than the centres.
    pub fn nearest(&self, embeddings: &Tensor) -> Result<Vec<u32>> {
        let margin = MarginSoftmax {
            scale: 1.0,
            margin: Margin::None,
            sub_centres: self.sub_centres,
            precision: Precision::Float32,
        };
        // The kernel wants labels for its losses, which nobody reads here.
        let labels = vec![0; embeddings.dims2()?.0];
        let (_, seen) =
            margin_softmax(&embeddings.detach(), &self.centres.as_detached_tensor(), &labels, margin)?;
        Ok(seen.nearest)
    }

    /// Moves the centres of a step, one for each class, towards the embeddings of their sentences, `[B, D]`.
    ///
    /// # Errors
    /// When the embeddings are not those of the step.
    pub fn average(&mut self, sampled: &SampledClasses, embeddings: &Tensor, momentum: f64) -> Result<()> {
        let row = |label: &u32| sampled.rows.as_ref().map_or(*label, |rows| rows[*label as usize]);
        let rows: Vec<u32> = sampled.labels.iter().map(row).collect();
        average_rows(self.centres.as_tensor(), &rows, embeddings, momentum as f32)?;
        self.steps += 1;
        self.moments().updates = self.steps;
        Ok(())
    }

    /// Moves the centres of a step by their gradient, `[S · sub_centres, D]`, where the backward pass has not done so.
    /// `step.step` is counted here.
    ///
    /// # Errors
    /// When no gradient reached the centres.
    pub fn update(
        &mut self,
        sampled: &SampledClasses,
        gradients: &Gradients,
        update: ClassUpdate,
        step: AdamWStep,
    ) -> Result<()> {
        self.steps += 1;
        let step = AdamWStep { step: self.steps, ..step };
        let mut held = lock(&self.moments);
        if let Some(rows) = &sampled.rows {
            let gradient = gradients.whole(&sampled.centres)?.ok_or_else(no_gradient)?;
            let moments = &mut held.moments;
            match update {
                // These have no gradient, and follow by `average`.
                ClassUpdate::MovingAverage => return Err(no_gradient().into()),
                ClassUpdate::Lazy => adamw_rows(self.centres.as_tensor(), rows, &gradient, moments, step)?,
                ClassUpdate::Dense => {
                    let numbers = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
                    let dense = self.centres.zeros_like()?.index_add(&numbers, &gradient, 0)?;
                    adamw(self.centres.as_tensor(), &dense, moments, step)?;
                }
            }
            held.updates = self.steps;
        }
        if held.updates != self.steps {
            return Err(no_gradient().into());
        }
        Ok(())
    }

    fn moments(&self) -> MutexGuard<'_, TableMoments> {
        lock(&self.moments)
    }
}

fn lock(moments: &Mutex<TableMoments>) -> MutexGuard<'_, TableMoments> {
    moments.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_gradient() -> anyhow::Error {
    anyhow::anyhow!("no gradient reached the class centres")
}

#[cfg(test)]
mod tests {
    use simcse_ops::gradients::backward;

    use super::*;

    const STEP: AdamWStep = AdamWStep {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 0,
        gradient_scale: 1.0,
    };

    fn table() -> ClassTable {
        ClassTable::random(50, 2, 3, Stream::from_seed(1)).unwrap()
    }

    fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
        tensor.to_vec2().unwrap()
    }

    /// One step on an embedding of the class that is first among the sampled ones.
    fn step(table: &mut ClassTable, sampled: &SampledClasses, update: ClassUpdate) -> Result<()> {
        let loss =
            MarginSoftmax { scale: 4.0, margin: Margin::None, sub_centres: 2, precision: Precision::Float32 };
        let sampled =
            SampledClasses { rows: sampled.rows.clone(), centres: sampled.centres.clone(), labels: vec![0] };
        let embedding = Var::new(&[[1.0_f32, -0.5, 0.25]], &Device::Cpu)?;
        let losses = table.loss(&embedding, &sampled, loss, update, STEP)?.0;
        table.update(&sampled, &backward(&losses.sum_all()?)?, update, STEP)
    }

    #[test]
    fn a_sample_has_the_own_classes_and_its_share() {
        let (table, labels) = (table(), [40, 3, 3]);
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..40 {
            let sampled = table.sample(&labels, 0.2, Stream::from_seed(number)).unwrap();
            let chosen = sampled.rows.as_ref().unwrap();
            assert_eq!(
                (chosen.len(), sampled.centres.dims()),
                (20, &[20, 3][..]),
                "ten classes of two centres"
            );
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            for (label, class) in sampled.labels.iter().zip(labels) {
                assert_eq!(chosen[2 * *label as usize], 2 * class);
            }
            let all = rows(table.centres());
            let wanted: Vec<_> = chosen.iter().map(|row| all[*row as usize].clone()).collect();
            assert_eq!(rows(&sampled.centres), wanted);
            seen.extend(chosen.iter().copied());
        }
        assert_eq!(seen.len(), 100, "every class comes at some time");
        let again = |seed| table.sample(&labels, 0.2, Stream::from_seed(seed)).unwrap().rows;
        assert_eq!(again(1), again(1));
        assert_eq!(table.sample(&labels, 0.01, Stream::from_seed(1)).unwrap().rows.unwrap(), [6, 7, 80, 81]);
    }

    #[test]
    fn nearest_is_that_of_all_cosines() {
        let table = table();
        let embeddings = ClassTable::random(9, 1, 3, Stream::from_seed(5)).unwrap();
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let centres = rows(table.centres());
        let by_hand = rows(embeddings.centres()).into_iter().map(|embedding| {
            let nearest = (0..centres.len())
                .max_by(|a, b| cosine(&embedding, &centres[*a]).total_cmp(&cosine(&embedding, &centres[*b])));
            nearest.unwrap() as u32 / 2
        });
        assert_eq!(table.nearest(embeddings.centres()).unwrap(), by_hand.collect::<Vec<u32>>());
    }

    #[test]
    fn lazy_leaves_others_alone_and_dense_moves_them_on() {
        for (update, others_move) in [(ClassUpdate::Lazy, false), (ClassUpdate::Dense, true)] {
            let mut table = table();
            let everything = table.sample(&[0], 1.0, Stream::from_seed(1)).unwrap();
            step(&mut table, &everything, update).unwrap();
            let before = rows(table.centres());
            let sampled = table.sample(&[7], 0.01, Stream::from_seed(1)).unwrap();
            step(&mut table, &sampled, update).unwrap();
            let after = rows(table.centres());
            assert!(after[14] != before[14] || after[15] != before[15], "its nearest centre");
            assert_eq!(
                after[..14] != before[..14],
                others_move,
                "{update:?}: the momentum of the first step"
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let table = table();
        assert!(table.sample(&[50], 0.5, Stream::from_seed(1)).is_err());
        for share in [0.0, 1.5, f64::NAN] {
            assert!(table.sample(&[0], share, Stream::from_seed(1)).is_err());
        }
        assert!(ClassTable::random(0, 1, 3, Stream::from_seed(1)).is_err());
        assert!(ClassTable::new(table.centres(), 3).is_err());
    }
}

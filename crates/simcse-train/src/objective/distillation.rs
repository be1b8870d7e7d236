//! A student that follows the embeddings of a teacher.

use candle_core::{D, Device, Tensor, Var};
use simcse_losses::distillation::{
    cosine_distance, ranking, similarity_distribution, similarity_matrix, squared_distance,
};
use simcse_losses::{DistillationConfig, LossError, l2_normalize};
use simcse_ops::adamw::{AdamWStep, Moments, adamw};
use simcse_ops::gradients::Gradients;
use simcse_random::Stream;

use super::{Diagnostics, LossContext, Objective, StepLoss};
use crate::own_parameter::{self, Kept};
use crate::{Result, StepBatch, TrainConfig};

/// Of the projection in a checkpoint.
const NAME: &str = "projection";

/// Each view of a sentence has to give what the teacher says of the sentence.
pub struct Distillation {
    config: DistillationConfig,
    /// Of each sentence of the corpus, `[N, E]`.
    teacher: Tensor,
    projection: Option<Projection>,
}

impl Distillation {
    /// `teacher`: the embeddings of all sentences of the corpus, `[N, E]`; `student_size`: `D`; `train` has AdamW's
    /// constants for the projection as well, which begins at random from `stream`.
    ///
    /// Fails on a value out of range, and on a student of another size where nothing projects it.
    pub fn new(
        config: DistillationConfig,
        teacher: Tensor,
        student_size: usize,
        train: &TrainConfig,
        stream: Stream,
    ) -> Result<Self> {
        config.validate()?;
        let (_, size) = teacher.dims2()?;
        let compares_values = config.cosine > 0.0 || config.squared > 0.0;
        if !config.projection && compares_values && size != student_size {
            return Err(LossError::Config {
                key: "projection",
                value: "false".to_owned(),
                problem: "teacher and student have embeddings of different sizes",
                fix: "set it to true, give the student the size of the teacher, or leave cosine and squared out",
            }
            .into());
        }
        let projection =
            config.projection.then(|| Projection::new((size, student_size), train, stream)).transpose()?;
        Ok(Self { config, teacher, projection })
    }

    /// What the teacher says of the sentences of a batch, row by row, `[rows, E]`.
    fn teacher(&self, batch: &StepBatch) -> Result<Tensor> {
        let sentences = self.teacher.dims()[0];
        if batch.groups.iter().any(|group| *group as usize >= sentences) {
            let problem =
                "a sentence of the batch has no embedding of the teacher; fix: train on unlabelled sentences";
            return Err(LossError::Embeddings(problem.to_owned()).into());
        }
        let rows = Tensor::from_slice(&batch.groups, batch.groups.len(), &Device::Cpu)?;
        Ok(self.teacher.index_select(&rows, 0)?)
    }

    /// The sum of all parts that have a weight. `projected` `[rows, E]` stands for the student where values are compared.
    fn sum(&self, student: &Tensor, projected: &Tensor, teacher: &Tensor) -> Result<Tensor> {
        let DistillationConfig { temperature, .. } = self.config;
        let mut sum: Option<Tensor> = None;
        let mut add = |weight: f64, part: &dyn Fn() -> simcse_losses::Result<Tensor>| -> Result<()> {
            if weight > 0.0 {
                let part = (part()? * weight)?;
                sum = Some(match &sum {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
            Ok(())
        };
        add(self.config.cosine, &|| cosine_distance(projected, teacher))?;
        add(self.config.squared, &|| squared_distance(projected, teacher))?;
        add(self.config.similarity_matrix, &|| similarity_matrix(student, teacher))?;
        add(self.config.similarity_distribution, &|| similarity_distribution(student, teacher, temperature))?;
        add(self.config.ranking, &|| ranking(student, teacher, temperature))?;
        Ok(sum.ok_or_else(|| anyhow::anyhow!("a distillation without a part"))?)
    }
}

impl Objective for Distillation {
    fn loss(&self, embeddings: &Tensor, batch: &StepBatch, context: LossContext) -> Result<StepLoss> {
        let teacher = self.teacher(batch)?;
        let projected = match &self.projection {
            Some(projection) => embeddings.matmul(&projection.weight.t()?)?,
            None => embeddings.clone(),
        };
        let loss = self.sum(embeddings, &projected, &teacher)?;
        let diagnostics = if context.diagnose {
            Some(diagnostics(&embeddings.detach(), &projected.detach(), &teacher)?)
        } else {
            None
        };
        Ok(StepLoss { loss, diagnostics })
    }

    fn update(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.projection.as_mut().map_or(Ok(()), |projection| projection.update(gradients, learning_rate))
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.projection.as_ref().map_or(Ok(Vec::new()), Projection::state)
    }

    fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        match &mut self.projection {
            Some(projection) => projection.restore(state),
            None if state.is_empty() => Ok(()),
            None => Err(anyhow::anyhow!("holds a projection, which the loss has not").into()),
        }
    }
}

/// How near students are to their teachers and to each other. Teachers of another size are only compared among themselves.
fn diagnostics(student: &Tensor, projected: &Tensor, teacher: &Tensor) -> Result<Diagnostics> {
    let (rows, _) = student.dims2()?;
    let unit = l2_normalize(student)?;
    let total = f64::from(unit.sum(0)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
    let own = f64::from(unit.sqr()?.sum_all()?.to_scalar::<f32>()?);
    let pairs = (rows * rows.saturating_sub(1)) as f64;
    let negative_cosine = (rows > 1).then(|| (total - own) / pairs);
    if projected.dims() != teacher.dims() {
        return Ok(Diagnostics { positive_cosine: None, negative_cosine, accuracy: None, chance_loss: None });
    }
    let cosines = l2_normalize(projected)?.matmul(&l2_normalize(teacher)?.t()?)?; // [rows, rows]
    let nearest = cosines.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let right = (0..).zip(&nearest).filter(|(row, nearest)| row == *nearest).count();
    let positive = (l2_normalize(projected)? * l2_normalize(teacher)?)?.sum_all()?.to_scalar::<f32>()?;
    Ok(Diagnostics {
        positive_cosine: Some(f64::from(positive) / rows as f64),
        negative_cosine,
        accuracy: Some(right as f64 / rows as f64),
        chance_loss: None,
    })
}

/// From the size of the student to that of the teacher, `[E, D]`.
struct Projection {
    weight: Var,
    moments: Moments,
    constants: AdamWStep,
}

impl Projection {
    /// Uniform in ±1/√D, as PyTorch's `Linear`.
    fn new((size, student_size): (usize, usize), train: &TrainConfig, stream: Stream) -> Result<Self> {
        let bound = 1.0 / (student_size as f32).sqrt();
        let weight = simcse_model::initial::uniform((size, student_size), bound, stream.named("projection"))?;
        let (weight, moments) = (Var::from_tensor(&weight)?, Moments::zeros(size * student_size));
        Ok(Self { weight, moments, constants: own_parameter::constants(train) })
    }

    fn update(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        // A loss that compares no values does not use it.
        let Some(gradient) = gradients.whole(&self.weight)? else { return Ok(()) };
        self.constants.step += 1;
        let step = AdamWStep { learning_rate, ..self.constants };
        Ok(adamw(self.weight.as_tensor(), &gradient, &mut self.moments, step)?)
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        own_parameter::entries(NAME, &self.weight, &self.moments, self.constants.step)
    }

    fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let Kept { value, moments, steps } = own_parameter::read(NAME, &self.weight, state)?;
        self.weight.set(&value)?;
        (self.moments, self.constants.step) = (moments, steps);
        Ok(())
    }
}

//! What a student takes over from the embeddings of a teacher.
//!
//! | part | follows |
//! |---|---|
//! | [`cosine_distance`] | the direction of each embedding |
//! | [`squared_distance`] | each embedding (Reimers and Gurevych 2020, equation 1) |
//! | [`similarity_matrix`] | the cosine of every pair of the batch (RoFormer-Sim, Su 2021) |
//! | [`similarity_distribution`] | the softmax over each sentence's cosines (relational distillation, Fang et al. 2021, SEED, equation 4) |
//! | [`ranking`] | the order of each sentence's neighbours (ListMLE, Xia et al. 2008, equation 9) |
//!
//! All take students `[B, D]` and teachers `[B, E]`, row by row of the same sentence, and give a scalar that can be
//! differentiated by the student. The first two need `D = E`.

mod config;
mod list_mle;

use candle_core::{D, DType, Tensor};

use crate::info_nce::in_full_precision;
use crate::{LossError, Result, l2_normalize};

pub use config::DistillationConfig;

/// Mean of 1 - cos(student, teacher). Fails when the shapes differ.
pub fn cosine_distance(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    same_shape(student, teacher)?;
    let cosines = (unit(student)? * unit(&teacher.detach())?)?.sum(D::Minus1)?; // [B]
    Ok((1.0 - cosines.mean_all()?)?)
}

/// Mean of |student - teacher|². Fails when the shapes differ.
pub fn squared_distance(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    same_shape(student, teacher)?;
    let difference = (in_full_precision(student)? - in_full_precision(&teacher.detach())?)?;
    Ok(difference.sqr()?.sum(D::Minus1)?.mean_all()?)
}

/// Mean squared difference of the cosines of all pairs of two different rows. Fails as [`similarity_distribution`].
pub fn similarity_matrix(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let others = others(student, teacher)?;
    let difference =
        (cosines(student)?.gather(&others, 1)? - cosines(&teacher.detach())?.gather(&others, 1)?)?;
    Ok(difference.sqr()?.mean_all()?)
}

/// Mean over the rows of KL(teacher ‖ student) between the softmax distributions over a row's cosines with all other
/// rows, divided by `temperature`. Fails on fewer than two rows, and when the numbers of rows differ.
pub fn similarity_distribution(student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let others = others(student, teacher)?;
    let log_softmax = |embeddings: &Tensor| -> Result<Tensor> {
        let logits = (cosines(embeddings)?.gather(&others, 1)? / temperature)?; // [B, B - 1]
        let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
        Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?)
    };
    let (student, teacher) = (log_softmax(student)?, log_softmax(&teacher.detach())?);
    let divergence = (teacher.exp()? * (&teacher - student)?)?.sum(1)?;
    Ok(divergence.mean_all()?)
}

/// Mean over the rows of `-ln P(the teacher's order) / (B - 1)`, the order being that of the other rows by the teacher's
/// cosine, and P the Plackett-Luce probability under the student's cosines divided by `temperature`. Equal cosines of
/// the teacher keep their order in the batch. float32 on the CPU. Fails as [`similarity_distribution`].
pub fn ranking(student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let rows = others(student, teacher)?.dims()[0];
    let of_teacher = cosines(&teacher.detach())?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let mut order = Vec::with_capacity(rows * (rows - 1));
    for (row, cosines) in of_teacher.iter().enumerate() {
        let mut others: Vec<u32> = (0..rows as u32).filter(|other| *other as usize != row).collect();
        others.sort_by(|a, b| cosines[*b as usize].total_cmp(&cosines[*a as usize]));
        order.extend(others);
    }
    let order = Tensor::from_vec(order, (rows, rows - 1), student.device())?;
    let logits = (cosines(student)?.gather(&order, 1)? / temperature)?;
    Ok(list_mle::list_mle(&logits)?.mean_all()?)
}

fn unit(embeddings: &Tensor) -> Result<Tensor> {
    Ok(l2_normalize(&in_full_precision(embeddings)?)?)
}

/// `[B, D]` → `[B, B]`.
fn cosines(embeddings: &Tensor) -> Result<Tensor> {
    let unit = unit(embeddings)?;
    Ok(unit.matmul(&unit.t()?)?)
}

/// The numbers of all other rows, for each row, `[B, B - 1]`.
fn others(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let ((rows, _), (of_teacher, _)) = (student.dims2()?, teacher.dims2()?);
    if rows < 2 || rows != of_teacher {
        return Err(wrong(format!(
            "{rows} rows of the student and {of_teacher} of the teacher; fix: give as many, 2 or more"
        )));
    }
    let rows = rows as u32;
    let others: Vec<u32> = (0..rows).flat_map(|row| (0..rows).filter(move |other| *other != row)).collect();
    Ok(Tensor::from_vec(others, (rows as usize, rows as usize - 1), student.device())?)
}

fn same_shape(student: &Tensor, teacher: &Tensor) -> Result<()> {
    if student.rank() == 2 && student.dims() == teacher.dims() {
        return Ok(());
    }
    Err(wrong(format!(
        "student {:?} and teacher {:?} differ; fix: project the student to the size of the teacher",
        student.dims(),
        teacher.dims()
    )))
}

fn wrong(problem: String) -> LossError {
    LossError::Embeddings(format!("distillation: {problem}"))
}

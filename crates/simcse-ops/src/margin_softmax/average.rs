//! Centres as moving averages of embeddings.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

use crate::math::dot;
use crate::profile;
use crate::tensors::{values_mut, with_values};

/// Moves rows of a table `[C, D]` towards embeddings `[B, D]`, one after the other:
/// `row ← unit(momentum · unit(row) + (1 - momentum) · unit(embedding))`.
///
/// `rows[i]` is the row of embedding `i`. A vector of length 0 counts as it is. Fails when shapes do not fit, a row is not
/// below `C`, or the tensors are not contiguous float32 on the CPU.
pub fn average_rows(table: &Tensor, rows: &[u32], embeddings: &Tensor, momentum: f32) -> Result<()> {
    let ((classes, size), (count, embedding_size)) = (table.dims2()?, embeddings.dims2()?);
    if size != embedding_size || rows.len() != count || rows.iter().any(|row| *row as usize >= classes) {
        bail!(
            "averages: {count} embeddings of {embedding_size} for {} rows of {classes} x {size}",
            rows.len()
        );
    }
    with_values(embeddings, |embeddings| table.inplace_op1(&Average { rows, embeddings, size, momentum }))
}

struct Average<'a> {
    rows: &'a [u32],
    embeddings: &'a [f32],
    size: usize,
    momentum: f32,
}

impl InplaceOp1 for Average<'_> {
    fn name(&self) -> &'static str {
        "averages of embeddings"
    }

    fn cpu_fwd(&self, table: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let _time = profile::kernel("averages of embeddings");
        let table = values_mut(self.name(), table, layout)?;
        // One thread: a batch of rows, in the order given, since a row may come twice.
        for (row, embedding) in self.rows.iter().zip(self.embeddings.chunks(self.size.max(1))) {
            let centre = &mut table[*row as usize * self.size..(*row as usize + 1) * self.size];
            let of_centre = self.momentum * inverse_length(centre);
            let of_embedding = (1.0 - self.momentum) * inverse_length(embedding);
            for (centre, value) in centre.iter_mut().zip(embedding) {
                *centre = of_centre * *centre + of_embedding * value;
            }
            let inverse = inverse_length(centre);
            centre.iter_mut().for_each(|value| *value *= inverse);
        }
        Ok(())
    }
}

/// 1 / length; 1 of a vector without direction.
fn inverse_length(vector: &[f32]) -> f32 {
    let squared = dot(vector, vector);
    if squared > 0.0 { 1.0 / squared.sqrt() } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn a_row_turns_towards_its_embeddings_one_after_the_other() {
        let table = Var::new(&[[2.0_f32, 0.0], [0.0, 3.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let embeddings = Tensor::new(&[[0.0_f32, 5.0], [-1.0, 0.0], [0.0, 4.0]], &Device::Cpu).unwrap();
        average_rows(&table, &[0, 0, 2], &embeddings, 0.5).unwrap();
        // Half of (1, 0) and (0, 1), to length 1; then half of that and (-1, 0).
        let first = 0.5_f32.sqrt();
        let second = [(first - 1.0) / 2.0, first / 2.0];
        let length = (second[0] * second[0] + second[1] * second[1]).sqrt();
        let wanted = [[second[0] / length, second[1] / length], [0.0, 3.0], [0.0, 1.0]];
        for (found, wanted) in table.to_vec2::<f32>().unwrap().iter().flatten().zip(wanted.iter().flatten()) {
            assert!((found - wanted).abs() < 1e-6, "{found}, wanted {wanted}");
        }
        assert!(average_rows(&table, &[3, 0, 0], &embeddings, 0.5).is_err());
        assert!(average_rows(&table, &[0, 0], &embeddings, 0.5).is_err());
    }
}

//! Both views of a sentence with the same dropout mask: the sentence is embedded once.

use simcse_losses::InfoNceConfig;
use simcse_model::{Mode, SentenceEncoder as _};
use simcse_ops::gradients::backward;
use simcse_train::BatchSource as _;
use simcse_train::objective::{LossContext, Objective as _, ViewContrast};

use crate::common::{Twelve, info_nce_config, network, setting};

/// Without dropout, two views of a sentence are one: loss and gradients are those of two views that are computed twice.
#[test]
fn one_view_stands_for_two_equal_ones() {
    let encoder = network(7, 0.0);
    let look = |shared_dropout_mask: bool| {
        let config = InfoNceConfig { shared_dropout_mask, ..info_nce_config(&setting()) };
        let objective = ViewContrast::new(config, &encoder).unwrap();
        let batch = Twelve { views: if shared_dropout_mask { 1 } else { 2 } }.batch(0).unwrap();
        let embeddings = encoder.forward(&batch.tokens, Mode::Evaluate).unwrap();
        let loss = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap();
        let gradients = backward(&loss.loss).unwrap();
        let of = |var: &candle_core::Var| -> Vec<f32> {
            gradients.whole(var).unwrap().unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let gradients: Vec<f32> = encoder.parameters().iter().flat_map(|(_, var)| of(var)).collect();
        (loss.loss.to_scalar::<f32>().unwrap(), gradients)
    };
    let ((once, gradients), (twice, of_twice)) = (look(true), look(false));
    assert!((once - twice).abs() < 1e-6, "{once} {twice}");
    assert!(gradients.iter().any(|value| value.abs() > 1e-3), "something is to be learned");
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
    assert!(gradients.iter().zip(&of_twice).all(near), "{gradients:?} {of_twice:?}");
}

#[test]
fn the_batch_has_to_have_as_many_views_as_the_loss_wants() {
    let encoder = network(7, 0.0);
    let config = InfoNceConfig { shared_dropout_mask: true, ..info_nce_config(&setting()) };
    let objective = ViewContrast::new(config, &encoder).unwrap();
    let batch = Twelve { views: 2 }.batch(0).unwrap();
    let embeddings = encoder.forward(&batch.tokens, Mode::Evaluate).unwrap();
    let error = objective.loss(&embeddings, &batch, LossContext::LOOK).unwrap_err().to_string();
    assert!(error.contains("2 views of a sentence where the loss has 1"), "{error}");
}

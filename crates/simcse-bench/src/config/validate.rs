//! Values out of range, and sections that do not go together.

use std::fmt::Debug;

use simcse_losses::LossConfig;
use simcse_model::Pooling;

use super::{
    ConfigError, DataConfig, EncoderConfig, EvaluationConfig, MaskedLanguageConfig, RunConfig, TrainingText,
    TransformerSection, WhiteningConfig,
};
use crate::record::{RUN_NAME, is_run_name};

type Result = std::result::Result<(), ConfigError>;

fn check(holds: bool, key: &str, value: &dyn Debug, fix: &str) -> Result {
    match holds {
        true => Ok(()),
        false => Err(ConfigError::new(key, format!("{key} = {value:?} cannot be used; fix: {fix}"))),
    }
}

/// Fails at a key or a section that is there and has no use in this configuration.
fn refuse(is_there: bool, key: &str, why: &str, fix: &str) -> Result {
    match is_there {
        false => Ok(()),
        true => Err(ConfigError::new(key, format!("{key}: {why}; fix: {fix}"))),
    }
}

impl RunConfig {
    /// Fails on a value out of range and on sections that contradict each other; the message names the key.
    pub fn validate(&self) -> Result {
        check(is_run_name(&self.experiment), "experiment", &self.experiment, RUN_NAME)?;
        check(is_run_name(&self.name), "name", &self.name, RUN_NAME)?;
        data(&self.data)?;
        evaluation(&self.evaluation)?;
        self.encoder()?;
        self.augmentation.validate()?;
        self.loss.validate()?;
        self.loss_fits_text()?;
        self.teacher()?;
        Ok(self.train.validate()?)
    }

    fn encoder(&self) -> Result {
        match &self.encoder {
            EncoderConfig::TextCnn(section) => {
                if self.vocabulary.is_none() {
                    let problem =
                        "vocabulary: missing; fix: add the section: a TextCNN has no tokenizer of its own";
                    // The section that asks for it is what stands in the file.
                    return Err(ConfigError::new("encoder", problem));
                }
                let why = "a TextCNN predicts no tokens";
                let fix = "leave the section out, or train a transformer";
                refuse(self.masked_language.is_some(), "masked_language", why, fix)?;
                Ok(section.network.validate()?)
            }
            EncoderConfig::Transformer(section) => {
                let why = "a transformer has the tokenizer of its checkpoint";
                refuse(self.vocabulary.is_some(), "vocabulary", why, "leave the section out")?;
                transformer(section)?;
                self.masked_language.as_ref().map_or(Ok(()), masked_language)
            }
        }
    }

    /// Distillation has one teacher, and no other loss has one.
    fn teacher(&self) -> Result {
        let distils = matches!(self.loss, LossConfig::Distillation(_));
        let Some(teacher) = &self.teacher else {
            let problem =
                "teacher: missing; fix: add the section: distillation follows the embeddings of a teacher";
            return if distils { Err(ConfigError::new("loss.kind", problem)) } else { Ok(()) };
        };
        let fix = "leave the section out, or set loss.kind to \"distillation\"";
        refuse(!distils, "teacher", "this loss has no teacher", fix)?;
        let fix = "give one of teacher.encoder and teacher.checkpoint";
        check(teacher.encoder.is_some() != teacher.checkpoint.is_some(), "teacher", &teacher.encoder, fix)?;
        teacher.checkpoint.as_ref().map_or(Ok(()), transformer)?;
        teacher.whitening.as_ref().map_or(Ok(()), |section| whitening("teacher.whitening", section))
    }

    /// Views and triplets are for InfoNCE, scored pairs for CoSENT; sentences as classes, and a teacher's, have no labels;
    /// augmentation and the queue are for views.
    fn loss_fits_text(&self) -> Result {
        let text = self.data.text().map(|(text, _)| text);
        let is = |wanted| text == Some(wanted);
        let (kind, of_pairs) = match &self.loss {
            LossConfig::InfoNce(_) => ("info_nce", false),
            LossConfig::Cosent(_) => ("cosent", true),
            LossConfig::MarginSoftmax(_) => ("margin_softmax", false),
            LossConfig::BatchCentres(_) => ("batch_centres", false),
            LossConfig::Distillation(_) => ("distillation", false),
        };
        let fix = "use cosent for data.pairs, and info_nce for data.train and data.triplets";
        check(of_pairs == is(TrainingText::Pairs), "loss.kind", &kind, fix)?;
        if let LossConfig::MarginSoftmax(_) | LossConfig::BatchCentres(_) | LossConfig::Distillation(_) =
            &self.loss
        {
            let fix = "use info_nce, or unlabelled sentences under data.train";
            check(is(TrainingText::Sentences), "loss.kind", &kind, fix)?;
        }
        if let LossConfig::InfoNce(config) = &self.loss {
            let (key, weight) = ("loss.hard_negative_weight", config.hard_negative_weight);
            if weight.is_none() && is(TrainingText::Triplets) {
                let fix = "add it for data.triplets; 1.0 weighs hard negatives like the others";
                return Err(ConfigError::new(key, format!("{key}: missing; fix: {fix}")));
            }
            let why = "two views of a sentence have no hard negatives";
            let fix = "take it out, or train on data.triplets";
            refuse(weight.is_some() && is(TrainingText::Sentences), key, why, fix)?;
            let shared = config.shared_dropout_mask;
            let fits = is(TrainingText::Sentences) && self.augmentation.is_off();
            let why = "both views of an unlabelled sentence are one then, without augmentation";
            let fix = "take it out, or train on data.train with nothing under [augmentation]";
            refuse(shared && !fits, "loss.shared_dropout_mask", why, fix)?;
            let fix = "take the section out, or train on data.train";
            let has_queue = config.queue.is_some() && is(TrainingText::Triplets);
            refuse(has_queue, "loss.queue", "triplets have their hard negatives and no momentum queue", fix)?;
        }
        let has_use = is(TrainingText::Sentences) || self.augmentation.is_off();
        let fix = "set everything in it to 0, or train on data.train";
        refuse(!has_use, "augmentation", "only unlabelled sentences are augmented", fix)?;
        let by_source = self.data.batches_of_one_source && !is(TrainingText::Sentences);
        let aside = self.data.without_hard_negatives && !is(TrainingText::Triplets);
        let (key, fix) = ("data.without_hard_negatives", "take it out, or train on data.triplets");
        refuse(aside, key, "only triplets have hard negatives", fix)?;
        let fix = "take it out, or train on data.train";
        refuse(by_source, "data.batches_of_one_source", "only unlabelled sentences are dealt so", fix)
    }
}

fn masked_language(section: &MaskedLanguageConfig) -> Result {
    let MaskedLanguageConfig { weight, rate } = section;
    let is_factor = weight.is_finite() && *weight > 0.0;
    check(is_factor, "masked_language.weight", weight, "give a number above 0, such as 0.1")?;
    let fix = "give a share above 0 and below 1, such as 0.15";
    check(*rate > 0.0 && *rate < 1.0, "masked_language.rate", rate, fix)
}

fn data(data: &DataConfig) -> Result {
    one_kind_of_text(data)?;
    check(data.max_tokens > 0, "data.max_tokens", &data.max_tokens, "give 1 or more")?;
    if let Some(cut) = data.train_max_tokens {
        let fix = "give 1 or more and at most data.max_tokens";
        check((1..=data.max_tokens).contains(&cut), "data.train_max_tokens", &cut, fix)?;
    }
    check(data.limit != Some(0), "data.limit", &0, "give 1 or more; leave it out for all")
}

fn one_kind_of_text(data: &DataConfig) -> Result {
    let kinds = [("data.train", &data.train), ("data.triplets", &data.triplets), ("data.pairs", &data.pairs)];
    let given: Vec<&str> =
        kinds.iter().filter(|(_, sources)| !sources.is_empty()).map(|(key, _)| *key).collect();
    let fix = "give sources under exactly one of data.train, data.triplets and data.pairs";
    match given[..] {
        [_] => Ok(()),
        [] => Err(ConfigError::new("data.train", format!("data: no training text; fix: {fix}"))),
        [.., second] => refuse(true, second, &format!("{} are given at once", given.join(" and ")), fix),
    }
}

fn transformer(section: &TransformerSection) -> Result {
    let fix = "name a folder, a model of the model folder, or owner/name on the hub";
    check(!section.checkpoint.trim().is_empty(), "encoder.checkpoint", &section.checkpoint, fix)?;
    check(section.layers != Some(0), "encoder.layers", &0, "give 1 or more; leave it out for all")?;
    if let Some(smoothing) = section.token_weight_smoothing {
        let key = "encoder.token_weight_smoothing";
        let fix = "give a number above 0, such as 0.001";
        check(smoothing > 0.0 && smoothing.is_finite(), key, &smoothing, fix)?;
        let fix = "leave it out, or set encoder.pooling to \"weighted_mean\" or \"smooth_maximum\"";
        check(section.pooling.weighs_tokens(), key, &smoothing, fix)?;
    }
    if let Some(sharpness) = section.sharpness {
        let (key, fix) = ("encoder.sharpness", "give a number above 0, such as 4");
        check(sharpness > 0.0 && sharpness.is_finite(), key, &sharpness, fix)?;
        let fix = "leave it out, or set encoder.pooling to \"smooth_maximum\"";
        check(section.pooling == Pooling::SmoothMaximum, key, &sharpness, fix)?;
    }
    for (key, rate) in [
        ("encoder.hidden_dropout", section.hidden_dropout),
        ("encoder.attention_dropout", section.attention_dropout),
    ] {
        check((0.0..1.0).contains(&rate), key, &rate, "a dropout rate lies in [0, 1)")?;
    }
    Ok(())
}

fn evaluation(evaluation: &EvaluationConfig) -> Result {
    let EvaluationConfig { tasks, select_on, whitening: section, .. } = evaluation;
    check(!tasks.is_empty(), "evaluation.tasks", tasks, "give one task or more")?;
    check(!select_on.is_empty(), "evaluation.select_on", select_on, "give one task or more")?;
    let fix = "name only tasks that stand in evaluation.tasks: what selects is scored and recorded";
    check(select_on.iter().all(|task| tasks.contains(task)), "evaluation.select_on", select_on, fix)?;
    section.as_ref().map_or(Ok(()), |section| whitening("evaluation.whitening", section))
}

fn whitening(key: &str, WhiteningConfig { sentences, kept }: &WhiteningConfig) -> Result {
    check(*sentences >= 2, &format!("{key}.sentences"), sentences, "give 2 or more")?;
    check(*kept != Some(0), &format!("{key}.kept"), &0, "give 1 or more; leave it out for all")
}

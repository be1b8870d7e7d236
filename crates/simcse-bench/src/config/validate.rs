//! Values out of range, and sections that do not go together.

use std::fmt::Debug;

use simcse_losses::LossConfig;

use super::{
    ConfigError, DataConfig, EncoderConfig, EvaluationConfig, MaskedLanguageConfig, RunConfig, TrainingText,
    TransformerSection, WhiteningConfig,
};

type Result = std::result::Result<(), ConfigError>;

fn check(holds: bool, key: &str, value: &dyn Debug, fix: &str) -> Result {
    match holds {
        true => Ok(()),
        false => Err(ConfigError::new(key, format!("{key} = {value:?} cannot be used; fix: {fix}"))),
    }
}

impl RunConfig {
    /// Fails on a value out of range and on sections that contradict each other; the message names the key.
    pub fn validate(&self) -> Result {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let plain =
            |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed);
        let letters = "use lower-case letters, digits, `-`, `_` and `.`";
        check(plain(&self.experiment), "experiment", &self.experiment, letters)?;
        check(plain(&self.name), "name", &self.name, letters)?;
        data(&self.data)?;
        evaluation(&self.evaluation)?;
        self.encoder()?;
        self.augmentation.validate()?;
        self.loss.validate()?;
        self.loss_fits_text()?;
        Ok(self.train.validate()?)
    }

    fn encoder(&self) -> Result {
        let vocabulary = &self.vocabulary;
        match &self.encoder {
            EncoderConfig::TextCnn(section) => {
                let fix = "add the section [vocabulary]: a TextCNN has no tokenizer of its own";
                check(vocabulary.is_some(), "vocabulary", vocabulary, fix)?;
                let fix = "leave the section out, or train a transformer";
                check(self.masked_language.is_none(), "masked_language", &self.masked_language, fix)?;
                Ok(section.network.validate()?)
            }
            EncoderConfig::Transformer(section) => {
                let fix = "leave the section out: a transformer has the tokenizer of its checkpoint";
                check(vocabulary.is_none(), "vocabulary", vocabulary, fix)?;
                if let Some(MaskedLanguageConfig { weight, rate }) = &self.masked_language {
                    check(*weight > 0.0, "masked_language.weight", weight, "give a number above 0")?;
                    let fix = "give a share above 0 and below 1, such as 0.15";
                    check(*rate > 0.0 && *rate < 1.0, "masked_language.rate", rate, fix)?;
                }
                transformer(section)
            }
        }
    }

    /// Views and triplets are for InfoNCE, scored pairs for CoSENT; augmentation makes views.
    fn loss_fits_text(&self) -> Result {
        let text = self.data.text().map(|(text, _)| text);
        let (is_cosent, weight) = match &self.loss {
            LossConfig::InfoNce(config) => (false, config.hard_negative_weight),
            LossConfig::Cosent(_) => (true, None),
        };
        let fix = "use cosent for data.pairs, and info_nce for data.train and data.triplets";
        check(is_cosent == (text == Some(TrainingText::Pairs)), "loss.kind", &text, fix)?;
        let is_triplets = text == Some(TrainingText::Triplets);
        let fix = "give it for data.triplets, and leave it out for everything else";
        check(weight.is_some() == is_triplets, "loss.hard_negative_weight", &weight, fix)?;
        let fix = "set everything in it to 0: only unlabelled sentences are augmented";
        let is_views = text == Some(TrainingText::Sentences);
        check(is_views || self.augmentation.is_off(), "augmentation", &self.augmentation, fix)
    }
}

fn data(data: &DataConfig) -> Result {
    let fix = "give sources under exactly one of data.train, data.triplets and data.pairs";
    check(data.text().is_some(), "data.train", &data.train, fix)?;
    check(data.max_tokens > 0, "data.max_tokens", &data.max_tokens, "give 1 or more")?;
    check(data.limit != Some(0), "data.limit", &0, "give 1 or more; leave it out for all")
}

fn transformer(section: &TransformerSection) -> Result {
    let fix = "name a folder, a model of the model folder, or owner/name on the hub";
    check(!section.checkpoint.trim().is_empty(), "encoder.checkpoint", &section.checkpoint, fix)?;
    check(section.layers != Some(0), "encoder.layers", &0, "give 1 or more; leave it out for all")?;
    for (key, rate) in [
        ("encoder.hidden_dropout", section.hidden_dropout),
        ("encoder.attention_dropout", section.attention_dropout),
    ] {
        check((0.0..1.0).contains(&rate), key, &rate, "a dropout rate lies in [0, 1)")?;
    }
    Ok(())
}

fn evaluation(evaluation: &EvaluationConfig) -> Result {
    let EvaluationConfig { tasks, select_on, whitening, .. } = evaluation;
    check(!tasks.is_empty(), "evaluation.tasks", tasks, "give one task or more")?;
    check(!select_on.is_empty(), "evaluation.select_on", select_on, "give one task or more")?;
    let fix = "name only tasks that stand in evaluation.tasks: what selects is scored and recorded";
    check(select_on.iter().all(|task| tasks.contains(task)), "evaluation.select_on", select_on, fix)?;
    if let Some(WhiteningConfig { sentences, kept }) = whitening {
        check(*sentences >= 2, "evaluation.whitening.sentences", sentences, "give 2 or more")?;
        check(*kept != Some(0), "evaluation.whitening.kept", &0, "give 1 or more; leave it out for all")?;
    }
    Ok(())
}

//! The `[train]` section refuses values out of range by name.

use simcse_train::config::TrainConfig;
use simcse_train::optimizer::ParameterGroup;

use crate::common::setting;

#[test]
fn each_value_out_of_range_is_named_with_its_mend() {
    type Change = fn(&mut TrainConfig);
    let cases: [(&str, Change); 15] = [
        ("batch_size = 1 ", |config| config.batch_size = 1),
        ("learning_rate = 0 ", |config| config.learning_rate = 0.0),
        ("learning_rate = NaN ", |config| config.learning_rate = f64::NAN),
        ("learning_rate = inf ", |config| config.learning_rate = f64::INFINITY),
        ("warmup_steps = 14 ", |config| config.warmup_steps = 14),
        ("beta1 = 1 ", |config| config.beta1 = 1.0),
        ("beta2 = -0.1 ", |config| config.beta2 = -0.1),
        ("epsilon = 0 ", |config| config.epsilon = 0.0),
        ("weight_decay = -0.1 ", |config| config.weight_decay = -0.1),
        ("max_gradient_norm = 0 ", |config| config.max_gradient_norm = 0.0),
        ("evaluate_every = 0 ", |config| config.evaluate_every = 0),
        ("checkpoint_every = 0 ", |config| config.checkpoint_every = 0),
        ("gradient_cache_rows = 0 ", |config| config.gradient_cache_rows = Some(0)),
        ("groups.learning_rate_factor = -1 ", |config| config.groups[0].learning_rate_factor = -1.0),
        ("groups.weight_decay = NaN ", |config| config.groups[0].weight_decay = f64::NAN),
    ];
    let good = || {
        let group = ParameterGroup { prefix: "a".to_owned(), learning_rate_factor: 1.0, weight_decay: 0.0 };
        TrainConfig { groups: vec![group], ..setting().train }
    };
    good().validate().unwrap();
    for (wanted, change) in cases {
        let mut config = good();
        change(&mut config);
        let line = config.validate().unwrap_err().to_string();
        assert!(line.starts_with(&format!("train.{wanted}")) && line.contains("fix: give "), "{line}");
    }
}

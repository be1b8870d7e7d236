//! A whole run in pieces beside one in whole batches.

use tempfile::tempdir;

use crate::common::{End, Script, Setting, network, rising, setting, train};

/// Losses of all steps and the parameters at the end.
fn run(setting: &Setting) -> (Vec<f64>, Vec<f32>) {
    let (folder, encoder) = (tempdir().unwrap(), network(7, 0.2));
    let mut script = Script::new(rising, End::Never);
    train(setting, &encoder, folder.path(), &mut script).unwrap();
    let parameters = script.measured.pop().unwrap().1.into_iter().map(f32::from_bits).collect();
    (script.reports.iter().map(|report| report.loss).collect(), parameters)
}

/// Rounding differs from the first step on, and each step hands it to the next.
#[test]
fn a_run_in_pieces_ends_close_to_one_in_whole_batches() {
    let whole = run(&setting());
    for rows in [4, 5] {
        let mut setting = setting();
        setting.train.gradient_cache_rows = Some(rows);
        let pieces = run(&setting);
        assert_ne!(pieces.1, whole.1, "no piece was made");
        assert!(
            pieces.0.iter().zip(&whole.0).all(|(a, b)| (a - b).abs() < 1e-4),
            "losses {pieces:?}, {whole:?}"
        );
        let parameters: Vec<f32> = pieces.1.iter().zip(&whole.1).map(|(a, b)| (a - b).abs()).collect();
        assert!(parameters.iter().all(|distance| *distance < 1e-3), "parameters {parameters:?}");
    }
}

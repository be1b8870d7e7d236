//! The parts of distillation against PyTorch, and their gradients against finite differences.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use candle_core::{Device, Tensor, Var};
use simcse_losses::Result;
use simcse_losses::distillation::{
    cosine_distance, ranking, similarity_distribution, similarity_matrix, squared_distance,
};

type Part = fn(&Tensor, &Tensor) -> Result<Tensor>;

const STUDENT: [[f32; 3]; 4] = [[1., 2., -1.], [0.5, -1., 2.], [-2., 0.25, 1.], [1., 1., 0.5]];
const TEACHER: [[f32; 3]; 4] = [[2., 1., 0.], [0., -1., 3.], [-1., 1., 1.], [0.5, 2., -1.]];

// import torch, torch.nn.functional as F
// s, t = torch.tensor(STUDENT, requires_grad=True), torch.tensor(TEACHER)
// cos = lambda x: F.normalize(x) @ F.normalize(x).T
// off = ~torch.eye(4, dtype=bool); rows = lambda m: m[off].view(4, 3); tau = .5
// order = rows(cos(t)).argsort(dim=1, descending=True, stable=True)
// z = rows(cos(s)).gather(1, order) / tau
// losses = [(1 - F.cosine_similarity(s, t)).mean(), (s - t).square().sum(1).mean(),
//     (rows(cos(s)) - rows(cos(t))).square().mean(),
//     F.kl_div((rows(cos(s)) / tau).log_softmax(1), (rows(cos(t)) / tau).softmax(1), reduction='batchmean'),
//     torch.stack([z[:, k:].logsumexp(1) - z[:, k] for k in range(3)]).mean(0).mean()]
// for loss in losses: s.grad = None; loss.backward(retain_graph=True); print(loss, s.grad)
#[rustfmt::skip]
const GOLDEN: [(&str, Part, f32, [f32; 12]); 5] = [
    ("cosine", cosine_distance, 0.2219367, [-0.060858, 0.015215, -0.030429, 0.023002, -0.011501, -0.011501, -0.018215, -0.053854, -0.022967, 0.028288, -0.080821, 0.105068]),
    ("squared", squared_distance, 2.328_125, [-0.500000, 0.500000, -0.500000, 0.250000, 0.000000, -0.500000, -0.500000, -0.375000, 0.000000, 0.250000, -0.500000, 0.750000]),
    ("matrix", similarity_matrix, 0.2120754, [-0.007291, -0.016142, -0.039575, 0.068414, 0.044990, 0.005391, -0.036270, -0.062416, -0.056936, 0.092365, -0.130884, 0.077038]),
    ("distribution", |s, t| similarity_distribution(s, t, 0.5), 0.1753544, [-0.010595, -0.001409, -0.013414, 0.075517, 0.052688, 0.007465, -0.033339, -0.034396, -0.058078, 0.083494, -0.115276, 0.063563]),
    ("ranking", |s, t| ranking(s, t, 0.5), 0.5338514, [-0.115376, 0.033286, -0.048803, 0.117635, 0.057878, -0.000470, -0.046278, 0.068934, -0.109789, 0.096622, -0.187693, 0.182141]),
];

#[test]
fn parts_and_gradients_equal_pytorch() {
    for (name, part, loss, gradient) in GOLDEN {
        let student = Var::new(&STUDENT, &Device::Cpu).unwrap();
        let teacher = Var::new(&TEACHER, &Device::Cpu).unwrap();
        let found = part(&student, &teacher).unwrap();
        let value = found.to_scalar::<f32>().unwrap();
        assert!((value - loss).abs() < 2e-6, "{name}: {value}, wanted {loss}");
        let gradients = found.backward().unwrap();
        let of_student = gradients.get(&student).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let near = of_student.iter().zip(gradient).all(|(a, b)| (a - b).abs() < 2e-6);
        assert!(near, "{name}: {of_student:?}, wanted {gradient:?}");
        assert!(gradients.get(&teacher).is_none(), "{name}: the teacher learns nothing");
    }
}

/// Similarities are compared whatever the size of the teacher; values are not.
#[test]
fn sizes_may_differ_where_only_similarities_are_compared() {
    let student = Tensor::new(&STUDENT, &Device::Cpu).unwrap();
    let teacher = Tensor::new(&TEACHER, &Device::Cpu).unwrap();
    let wide = Tensor::cat(&[&teacher, &teacher], 1).unwrap();
    for (name, part, loss, _) in &GOLDEN[2..] {
        let found = part(&student, &wide).unwrap().to_scalar::<f32>().unwrap();
        assert!((found - loss).abs() < 2e-6, "{name}: equal cosines");
    }
    for (_, part, ..) in &GOLDEN[..2] {
        let message = part(&student, &wide).unwrap_err().to_string();
        assert!(message.contains("differ; fix: project"), "{message}");
    }
    for (_, part, ..) in &GOLDEN[2..] {
        let few = teacher.narrow(0, 0, 3).unwrap();
        let message = part(&student, &few).unwrap_err().to_string();
        assert!(message.contains("4 rows of the student and 3 of the teacher; fix: "), "{message}");
        let alone = student.narrow(0, 0, 1).unwrap();
        assert!(part(&alone, &alone).is_err());
    }
}

/// An order of hundreds, with logits far apart: nothing overflows, and the slopes of each row sum to 0.
#[test]
fn a_long_ranking_at_a_low_temperature_stays_finite() {
    let vectors = |seed| {
        let key = simcse_random::Stream::from_seed(seed).key();
        let number = |i: u32| simcse_random::uniform_bits(key, i) as f32 / u32::MAX as f32 - 0.5;
        let values: Vec<f32> = (0..300 * 4).map(number).collect();
        Tensor::from_vec(values, (300, 4), &Device::Cpu).unwrap()
    };
    let student = Var::from_tensor(&vectors(1)).unwrap();
    let loss = ranking(&student, &vectors(2), 0.001).unwrap();
    let value = loss.to_scalar::<f32>().unwrap();
    assert!(value > 1.0 && value.is_finite(), "{value}");
    let gradients = loss.backward().unwrap();
    let gradient = gradients.get(&student).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(gradient.iter().all(|value| value.is_finite()));
    assert!(gradient.iter().any(|value| value.abs() > 1e-3));
}

//! Convolution + ReLU + max over time against a plain float64 double and finite differences, on every
//! SIMD level that the machine has.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use candle_core::{Device, Tensor, Var};
use simcse_ops::Segments;
use simcse_ops::conv_max::conv_relu_max_at;
use simcse_ops::gradients::backward;
use simcse_ops::simd::Level;
use simcse_random::uniform_bits;

struct Problem {
    offsets: Vec<u32>,
    width: usize,
    maps: usize,
    size: usize,
    tokens: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    (0..count).map(|i| f64::from(uniform_bits(seed, i as u32)) / f64::from(u32::MAX) - 0.5).collect()
}

impl Problem {
    fn new(lengths: &[u32], width: usize, maps: usize, size: usize) -> Self {
        let mut offsets = vec![0];
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        let tokens = offsets[lengths.len()] as usize;
        Self {
            offsets,
            width,
            maps,
            size,
            tokens: numbers(tokens * size, 1),
            weight: numbers(width * maps * size, 2),
            bias: numbers(maps, 3),
        }
    }

    /// The definition, term by term: windows, taps, zeros outside of the sentence.
    fn output(&self) -> Vec<f64> {
        let mut output = Vec::new();
        for range in self.offsets.windows(2) {
            let (start, end) = (i64::from(range[0]), i64::from(range[1]));
            for map in 0..self.maps {
                let windows = start - self.width as i64 + 1..end;
                let values = windows.filter(|_| end > start).map(|window| {
                    let taps = (0..self.width).filter(|tap| (start..end).contains(&(window + *tap as i64)));
                    self.bias[map] + taps.map(|tap| self.product(window + tap as i64, tap, map)).sum::<f64>()
                });
                output.push(values.fold(0.0, f64::max));
            }
        }
        output
    }

    fn product(&self, token: i64, tap: usize, map: usize) -> f64 {
        let token = &self.tokens[token as usize * self.size..][..self.size];
        let weight = &self.weight[(tap * self.maps + map) * self.size..][..self.size];
        token.iter().zip(weight).map(|(a, b)| a * b).sum()
    }

    /// A fixed weighting of the output, so that every element has a gradient of its own.
    fn loss(&self) -> f64 {
        self.output().iter().enumerate().map(|(i, value)| value * coefficient(i)).sum()
    }
}

fn coefficient(index: usize) -> f64 {
    (index as f64 * 0.7).sin() + 0.1
}

fn tensor(values: &[f64], shape: &[usize]) -> Var {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Output and the gradients of tokens, weight and bias.
fn fused(problem: &Problem, level: Level) -> [Vec<f32>; 4] {
    let tokens = tensor(&problem.tokens, &[problem.tokens.len() / problem.size, problem.size]);
    let weight = tensor(&problem.weight, &[problem.width, problem.maps, problem.size]);
    let bias = tensor(&problem.bias, &[problem.maps]);
    let segments = Segments::new(&problem.offsets).unwrap();
    let output = conv_relu_max_at(level, &tokens, &[(&weight, &bias)], &segments).unwrap();
    let coefficients: Vec<f32> = (0..output.elem_count()).map(|i| coefficient(i) as f32).collect();
    let coefficients = Tensor::from_vec(coefficients, output.shape(), &Device::Cpu).unwrap();
    let gradients = backward(&(&output * coefficients).unwrap().sum_all().unwrap()).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    [
        flat(&output),
        flat(&gradients.whole(&tokens).unwrap().unwrap()),
        flat(&gradients.whole(&weight).unwrap().unwrap()),
        flat(&gradients.whole(&bias).unwrap().unwrap()),
    ]
}

/// Filters of several widths are those of each width side by side, and the tokens have the sum of their gradients.
#[test]
fn several_widths_stand_side_by_side() {
    let offsets = [0, 3, 4, 4, 9];
    let segments = Segments::new(&offsets).unwrap();
    let numbers = |count: usize, seed: f64| -> Vec<f64> {
        (0..count).map(|i| ((i as f64 + seed) * 1.7).sin()).collect()
    };
    let tokens = tensor(&numbers(9 * 5, 0.0), &[9, 5]);
    let filters = [(2, 3), (4, 6)].map(|(width, maps)| {
        (
            tensor(&numbers(width * maps * 5, width as f64), &[width, maps, 5]),
            tensor(&numbers(maps, 9.0), &[maps]),
        )
    });
    let run = |filters: &[(Var, Var)]| {
        let borrowed: Vec<(&Tensor, &Tensor)> =
            filters.iter().map(|(weight, bias)| (weight.as_tensor(), bias.as_tensor())).collect();
        let output = conv_relu_max_at(Level::current(), &tokens, &borrowed, &segments).unwrap();
        let gradients = backward(&output.sqr().unwrap().sum_all().unwrap()).unwrap();
        let of = |tensor: &Tensor| gradients.whole(tensor).unwrap().unwrap();
        let of_filters: Vec<[Tensor; 2]> =
            borrowed.iter().map(|(weight, bias)| [of(weight), of(bias)]).collect();
        (output, of(&tokens), of_filters)
    };
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (both, of_tokens, of_filters) = run(&filters);
    let parts = filters.each_ref().map(|filters| run(std::slice::from_ref(filters)));
    let outputs: Vec<Tensor> = parts.iter().map(|part| part.0.clone()).collect();
    assert_eq!(flat(&both), flat(&Tensor::cat(&outputs, 1).unwrap()));
    let sum = (&parts[0].1 + &parts[1].1).unwrap();
    let near = flat(&of_tokens).into_iter().zip(flat(&sum)).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near);
    for (of_both, part) in of_filters.iter().zip(&parts) {
        assert_eq!(of_both.each_ref().map(flat), part.2[0].each_ref().map(flat));
    }
}

fn assert_near(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() < tolerance, "{what}[{i}]: {got}, wanted {want}");
    }
}

/// Odd lengths, one token, sentences shorter than the filter, and an empty sentence.
const LENGTHS: [u32; 7] = [1, 2, 5, 0, 3, 17, 1];

#[test]
fn output_equals_the_definition() {
    for level in Level::available() {
        for (width, maps, size) in [(1, 3, 4), (2, 16, 7), (3, 33, 17), (5, 2, 300), (9, 5, 31)] {
            let problem = Problem::new(&LENGTHS, width, maps, size);
            let [output, ..] = fused(&problem, level);
            assert_near(&output, &problem.output(), 1e-4, &format!("{level:?} {width} x {maps} x {size}"));
        }
    }
}

#[test]
fn many_sentences_cross_the_blocks() {
    let lengths: Vec<u32> = (0..200).map(|i| i * 7 % 23).collect();
    let problem = Problem::new(&lengths, 3, 40, 12);
    let portable = fused(&problem, Level::Portable);
    assert_near(&portable[0], &problem.output(), 1e-5, "output");
    for level in Level::available() {
        for (got, want) in fused(&problem, level).iter().zip(&portable) {
            let want: Vec<f64> = want.iter().map(|value| f64::from(*value)).collect();
            assert_near(got, &want, 1e-4, &format!("{level:?} against portable"));
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let mut problem = Problem::new(&LENGTHS, 3, 4, 5);
    let step = 1e-6;
    let mut differences: [Vec<f64>; 3] = Default::default();
    for (which, differences) in differences.iter_mut().enumerate() {
        let count = [problem.tokens.len(), problem.weight.len(), problem.bias.len()][which];
        for index in 0..count {
            let mut loss_at = |shift: f64| {
                let values =
                    [&mut problem.tokens, &mut problem.weight, &mut problem.bias][which].as_mut_slice();
                let before = values[index];
                values[index] = before + shift;
                let loss = problem.loss();
                [&mut problem.tokens, &mut problem.weight, &mut problem.bias][which][index] = before;
                loss
            };
            differences.push((loss_at(step) - loss_at(-step)) / (2.0 * step));
        }
    }
    for level in Level::available() {
        let [_, tokens, weight, bias] = fused(&problem, level);
        assert_near(&tokens, &differences[0], 1e-4, &format!("{level:?} token gradient"));
        assert_near(&weight, &differences[1], 1e-4, &format!("{level:?} weight gradient"));
        assert_near(&bias, &differences[2], 1e-4, &format!("{level:?} bias gradient"));
    }
}

#[test]
fn a_sentence_does_not_see_its_neighbours() {
    let problem = Problem::new(&[4, 6, 3], 4, 8, 5);
    let [together, ..] = fused(&problem, Level::current());
    let mut alone = Problem::new(&[6], 4, 8, 5);
    alone.tokens = problem.tokens[4 * 5..10 * 5].to_vec();
    let [middle, ..] = fused(&alone, Level::current());
    // The matrix product may round differently in a matrix of another height; no more than that.
    let together: Vec<f64> = together[8..16].iter().map(|value| f64::from(*value)).collect();
    assert_near(&middle, &together, 1e-6, "the sentence alone");
}

#[test]
fn nan_comes_through() {
    let mut problem = Problem::new(&[3, 2], 2, 3, 4);
    problem.tokens[0] = f64::NAN;
    let [output, ..] = fused(&problem, Level::current());
    assert!(output[..3].iter().all(|value| value.is_nan()), "{output:?}");
    assert!(output[3..].iter().all(|value| value.is_finite()), "{output:?}");
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let problem = Problem::new(&[2], 2, 3, 4);
    let segments = Segments::new(&[0, 3]).unwrap();
    let (tokens, weight) = (tensor(&problem.tokens, &[2, 4]), tensor(&problem.weight, &[2, 3, 4]));
    let bias = tensor(&problem.bias, &[3]);
    let error = conv_relu_max_at(Level::current(), &tokens, &[(&weight, &bias)], &segments).unwrap_err();
    assert!(error.to_string().contains("segments hold 3 tokens, the input 2"), "{error}");
}

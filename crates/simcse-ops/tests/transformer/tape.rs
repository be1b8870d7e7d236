//! One transformer layer on a tape beside the same kernels as separate ops of candle.

use candle_core::{Tensor, Var};
use simcse_ops::Segments;
use simcse_ops::attention::attention_at;
use simcse_ops::dropout::DropoutMasks;
use simcse_ops::gradients::{Gradient, backward};
use simcse_ops::layer_norm::{LayerNormSites, LayerNormWeights, layer_norm_at};
use simcse_ops::linear::{Activation, Precision, linear_at};
use simcse_ops::simd::Level;
use simcse_ops::tape::{NormSites, Rows, Tape};

use crate::support::{assert_close, masks, numbers, segments};

const SIZE: usize = 12;
const HEADS: usize = 3;
const EXACT: Precision = Precision::Float32;

/// Weights and biases of queries, keys, values, output, the feed-forward block and a norm.
struct Layer {
    parameters: Vec<Var>,
}

impl Layer {
    fn new() -> Self {
        let shapes = [(SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE), (40, SIZE), (SIZE, 40)];
        let variable = |shape: &[usize], seed| Var::from_tensor(&numbers(shape, seed)).unwrap();
        let linear = (1..).zip(shapes).flat_map(|(seed, (outputs, inputs))| {
            [variable(&[outputs, inputs], seed), variable(&[outputs], 10 + seed)]
        });
        let norm = [variable(&[SIZE], 30), variable(&[SIZE], 31)];
        Self { parameters: linear.chain(norm).collect() }
    }

    fn linear(&self, index: usize) -> (&Tensor, &Tensor) {
        (&self.parameters[2 * index], &self.parameters[2 * index + 1])
    }

    fn norm(&self) -> LayerNormWeights<'_> {
        LayerNormWeights { weight: &self.parameters[12], bias: &self.parameters[13], epsilon: 1e-5 }
    }
}

struct Setting {
    segments: Segments,
    probabilities: DropoutMasks,
    output: DropoutMasks,
}

/// As separate ops.
fn plain(level: Level, layer: &Layer, setting: &Setting, states: &Tensor) -> Tensor {
    let Setting { segments, probabilities, output } = setting;
    let linear = |input: &Tensor, index: usize, activation| {
        let (weight, bias) = layer.linear(index);
        linear_at(level, input, weight, bias, activation, EXACT).unwrap()
    };
    let identity = Activation::Identity;
    let parts = [0, 1, 2].map(|index| linear(states, index, identity));
    let mixed =
        attention_at(level, &Tensor::cat(&parts, 1).unwrap(), HEADS, segments, Some(probabilities)).unwrap();
    let norm = |input: &Tensor, residual: &Tensor| {
        let sites = LayerNormSites {
            segments,
            residual: Some(residual),
            input_masks: Some(output),
            output_masks: None,
        };
        layer_norm_at(level, input, layer.norm(), sites).unwrap()
    };
    let states = norm(&linear(&mixed, 3, identity), states);
    let inner = linear(&states, 4, Activation::Gelu);
    norm(&linear(&inner, 5, identity), &states)
}

/// On a tape; of all tokens, or of the first ones alone.
fn on_tape(level: Level, layer: &Layer, setting: &Setting, input: &Tensor, first_only: bool) -> Tensor {
    let Setting { segments, probabilities, output } = setting;
    let (mut tape, states) = Tape::begin_at(level, input).unwrap();
    let identity = Activation::Identity;
    let [query, key, value] = [0, 1, 2].map(|index| layer.linear(index));
    let (projected, residual, rows) = if first_only {
        let first = tape.first_rows(&states, segments).unwrap();
        let queries = tape.linear(&first, &[query], identity, EXACT).unwrap();
        let others = tape.linear(&states, &[key, value], identity, EXACT).unwrap();
        let rows = Segments::of_single_tokens(segments.len());
        (tape.beside_first_queries(&queries, &others, segments).unwrap(), first, rows)
    } else {
        let projected = tape.linear(&states, &[query, key, value], identity, EXACT).unwrap();
        (projected, states, segments.clone())
    };
    let mixed = tape.attention(&projected, HEADS, segments, Some(probabilities), first_only).unwrap();
    let mixed = tape.linear(&mixed, &[layer.linear(3)], identity, EXACT).unwrap();
    let sites = NormSites {
        segments: &rows,
        residual: Some(&residual),
        input_masks: Some(output),
        output_masks: None,
    };
    let states = tape.layer_norm(&mixed, layer.norm(), sites).unwrap();
    let inner = tape.linear(&states, &[layer.linear(4)], Activation::Gelu, EXACT).unwrap();
    let inner = tape.linear(&inner, &[layer.linear(5)], identity, EXACT).unwrap();
    let output =
        tape.layer_norm(&inner, layer.norm(), NormSites { residual: Some(&states), ..sites }).unwrap();
    tape.finish(&[output]).unwrap().remove(0)
}

/// The output, and the gradients of input and parameters.
fn run(layer: &Layer, input: &Var, function: impl Fn(&Tensor) -> Tensor) -> Vec<Tensor> {
    let output = function(input);
    let weights = numbers(output.dims(), 99);
    let gradients = backward(&(&output * weights).unwrap().sum_all().unwrap()).unwrap();
    let of = |variable: &Var| gradients.whole(variable).unwrap().unwrap();
    [output].into_iter().chain([of(input)]).chain(layer.parameters.iter().map(of)).collect()
}

fn setting(segments: Segments) -> (Setting, Var) {
    let input = Var::from_tensor(&numbers(&[segments.tokens(), SIZE], 50)).unwrap();
    let probabilities = masks(0.3, segments.len(), "probabilities");
    let output = masks(0.2, segments.len(), "output");
    (Setting { segments, probabilities, output }, input)
}

#[test]
fn a_layer_is_that_of_separate_ops() {
    let (layer, (setting, input)) = (Layer::new(), setting(segments().0));
    for level in Level::available() {
        let wanted = run(&layer, &input, |input| plain(level, &layer, &setting, input));
        let found = run(&layer, &input, |input| on_tape(level, &layer, &setting, input, false));
        for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert_close(found, wanted, 1e-6, &format!("{level:?}, {number}"));
        }
    }
}

/// The same masks, and no work for the others.
#[test]
fn first_tokens_alone_are_those_among_the_others() {
    let segments = Segments::new(&[0, 7, 8, 26, 29]).unwrap();
    let (layer, (setting, input)) = (Layer::new(), setting(segments.clone()));
    let first: Vec<u32> = (0..segments.len()).map(|sentence| segments.range(sentence).start as u32).collect();
    let first = Tensor::new(first, input.device()).unwrap();
    for level in Level::available() {
        let all = |input: &Tensor| plain(level, &layer, &setting, input).index_select(&first, 0).unwrap();
        let wanted = run(&layer, &input, all);
        let found = run(&layer, &input, |input| on_tape(level, &layer, &setting, input, true));
        for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert_close(found, wanted, 1e-6, &format!("{level:?}, {number}"));
        }
    }
}

/// Outputs of several layers, the input among them.
#[test]
fn several_outputs_have_their_gradients_added_up() {
    let layer = Layer::new();
    let input = Var::from_tensor(&numbers(&[5, SIZE], 50)).unwrap();
    let run = |on_tape: bool| {
        let (weight, bias) = layer.linear(3);
        let outputs = if on_tape {
            let (mut tape, states) = Tape::begin(&input).unwrap();
            let output = tape.linear(&states, &[(weight, bias)], Activation::Tanh, EXACT).unwrap();
            tape.finish(&[states, output]).unwrap()
        } else {
            let level = Level::current();
            let output = linear_at(level, &input, weight, bias, Activation::Tanh, EXACT).unwrap();
            vec![input.as_tensor().clone(), output]
        };
        let squares = outputs.iter().map(|output| output.sqr().unwrap().sum_all().unwrap());
        let loss = squares.reduce(|sum, square| (sum + square).unwrap()).unwrap();
        let gradients = backward(&loss).unwrap();
        [&input.as_tensor().clone(), weight, bias]
            .map(|parameter| gradients.whole(parameter).unwrap().unwrap())
    };
    for (found, wanted) in run(true).iter().zip(&run(false)) {
        assert_close(found, wanted, 1e-6, "gradient");
    }
}

#[test]
fn a_gradient_is_never_lost_silently() {
    let layer = Layer::new();
    let (setting, input) = setting(Segments::new(&[0, 3, 5]).unwrap());
    let loss = on_tape(Level::current(), &layer, &setting, &input, false).sum_all().unwrap();
    assert!(loss.backward().unwrap_err().to_string().contains("this gradient would be lost; fix"));
    let loss = on_tape(Level::current(), &layer, &setting, &input, false).sum_all().unwrap();
    backward(&loss).unwrap();
    assert!(backward(&loss).unwrap_err().to_string().contains("can be walked back once; fix"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let layer = Layer::new();
    let (setting, input) = setting(segments().0);
    let (mut tape, states) = Tape::begin(&input).unwrap();
    assert!(tape.first_rows(&states, &setting.segments).is_err(), "an empty sentence has no first token");
    assert!(tape.linear(&states, &[layer.linear(5)], Activation::Identity, EXACT).is_err());
    assert!(tape.attention(&states, 5, &setting.segments, None, false).is_err());
    let few = Segments::of_single_tokens(3);
    let sites = NormSites { segments: &few, residual: Some(&states), input_masks: None, output_masks: None };
    assert!(tape.layer_norm(&states, layer.norm(), sites).is_err());
}

/// Words, places and types, with a word that comes twice; against lookups of candle.
#[test]
fn rows_of_tables_are_summed_and_their_gradients_come_by_row() {
    let tables =
        [(7, 1), (4, 2), (2, 3)].map(|(rows, seed)| Var::from_tensor(&numbers(&[rows, SIZE], seed)).unwrap());
    let ids: [&[u32]; 3] = [&[6, 2, 2, 0], &[0, 1, 0, 1], &[0; 4]];
    let rows: Vec<Rows> = tables.iter().zip(ids).map(|(table, ids)| Rows { table, ids }).collect();
    let weights = numbers(&[4, SIZE], 99);
    let (tape, sums) = Tape::begin_with_rows(&rows).unwrap();
    let output = tape.finish(&[sums]).unwrap().remove(0);
    let found = backward(&(&output * &weights).unwrap().sum_all().unwrap()).unwrap();
    let looked_up = tables
        .iter()
        .zip(ids)
        .map(|(table, ids)| table.index_select(&Tensor::new(ids, table.device()).unwrap(), 0).unwrap());
    let plain = looked_up.reduce(|a, b| (a + b).unwrap()).unwrap();
    let wanted = (&plain * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    assert_close(&output, &plain, 1e-6, "sums");
    for table in &tables {
        assert!(matches!(found.get(table), Some(Gradient::Rows(_))));
        assert_close(&found.whole(table).unwrap().unwrap(), wanted.get(table).unwrap(), 1e-6, "gradient");
    }
    let message = |rows: &[Rows]| Tape::begin_with_rows(rows).err().unwrap().to_string();
    assert!(message(&[Rows { ids: &[7, 0, 0, 0], ..rows[0] }]).contains("token id 7 in a vocabulary of 7"));
    assert!(message(&[rows[0], Rows { ids: &[0], ..rows[1] }]).contains("differ"));
    assert!(message(&[]).contains("no table"));
}

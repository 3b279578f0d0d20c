//! The operations against PyTorch: `torch/golden.py` wrote what is compared here.

use super::activation::Function;
use super::attention::{Heads, Mask};
use super::batch_norm::{MOMENTUM, follow};
use super::cross_entropy::IGNORED;
use super::graph::{Given, Memory, Network, Recorder, TensorRole, Training, Value};
use super::real::Real;
use super::rope::RopeTable;
use safetensors::SafeTensors;
use std::sync::Arc;
use thumbformer::format::InputWidth;

const FILE: &[u8] = include_bytes!("../../tests/golden/operations.safetensors");
const TOKENS: [u16; 6] = [3, 1, 3, 0, 6, 5];
const TARGETS: [u16; 6] = [5, 3, 5, 2, 1, 0];
const HEADS: Heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 2 };
const STRIDE: usize = 16;

fn read<R: Real>(file: &SafeTensors<'_>, name: &str) -> Vec<R> {
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (values, rest) = tensor.data().as_chunks::<8>();
    assert!(rest.is_empty());
    values.iter().map(|&bytes| R::of(f64::from_le_bytes(bytes))).collect()
}

/// A case with its numbers, and how far they may be off.
struct Case<'a> {
    file: &'a SafeTensors<'a>,
    name: &'a str,
    tolerance: f64,
}

impl Case<'_> {
    fn read<R: Real>(&self, what: &str) -> Vec<R> {
        read(self.file, &format!("{}/{what}", self.name))
    }

    fn equal<R: Real>(&self, what: &str, found: &[R]) {
        let wanted: Vec<f64> = self.read(what);
        assert_eq!(found.len(), wanted.len(), "{} {what}", self.name);
        for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let error = (found.wide() - wanted).abs() / (1.0 + wanted.abs());
            let name = self.name;
            assert!(error < self.tolerance, "{name} {what} at {i}: found {found:?}, PyTorch has {wanted}");
        }
    }

    /// The parameters of a network, by the last parts of their names; statistics are those before the step.
    fn params<R: Real>(&self, network: &Network<Training, R>) -> Vec<R> {
        let each = network.tensors().iter().flat_map(|tensor| match tensor.role {
            TensorRole::Weight => self.read(&format!("param/{}", last(&tensor.name))),
            TensorRole::Statistic => self.read(&format!("before/{}", last(&tensor.name))),
        });
        each.collect()
    }

    /// Records, runs and compares; returns what a frozen network makes of the same.
    fn check<R: Real>(
        &self,
        sequences: usize,
        tokens: usize,
        define: impl Fn(&mut Recorder<Training, R>) -> Value,
        is_loss: bool,
    ) -> Vec<R> {
        let mut net = Recorder::new(sequences, tokens);
        let y = define(&mut net);
        if !is_loss {
            net.weighted(self.read("weights"), y);
        }
        let network = net.finish(y);
        let mut params = self.params(&network);
        let targets = if self.name == "smoothed_cross_entropy" {
            let [a, b, c, d, _, f] = TARGETS;
            [a, b, c, d, IGNORED, f]
        } else {
            TARGETS
        };
        let given = Given { tokens: &TOKENS, targets: &targets, key: 9, ..Given::default() };
        let (mut memory, mut grad) = (Memory::new(&network), vec![R::ZERO; params.len()]);
        let loss = network.forward(&params, &given, &mut memory);
        if is_loss {
            self.equal("loss", &[R::of(loss)]);
        } else {
            self.equal("output", network.output(&memory));
        }
        network.backward(&params, &given, &mut memory, &mut grad);
        for tensor in network.tensors().iter().filter(|tensor| tensor.role == TensorRole::Weight) {
            self.equal(&format!("grad/{}", last(&tensor.name)), &grad[tensor.range.clone()]);
        }
        follow(&network, &mut params, &mut grad, 1, MOMENTUM, |_| true);
        for tensor in network.tensors().iter().filter(|tensor| tensor.role == TensorRole::Statistic) {
            self.equal(&format!("after/{}", last(&tensor.name)), &params[tensor.range.clone()]);
        }
        let frozen = network.freeze();
        let mut memory = Memory::new(&frozen);
        frozen.infer(&params, &given, &mut memory);
        frozen.output(&memory).to_vec()
    }
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn compare<R: Real>(tolerance: f64) {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let case = |name| Case { file: &file, name, tolerance };
    // Those of two sequences of three tokens.
    let check = |name, define: fn(&mut Recorder<Training, R>) -> Value| {
        case(name).check(2, 3, define, false);
    };
    let activation = |name, function| {
        let define = |net: &mut Recorder<Training, R>| {
            let x = net.variable("x", 6, 5);
            net.activation(function, x)
        };
        case(name).check(2, 3, define, false);
    };
    check("linear", |net| {
        let x = net.variable("x", 6, 5);
        net.linear("layer", &[("a", 4)], true, x)
    });
    check("embedding", |net| {
        let table = net.table("table", 7, 4);
        net.embedding(&table)
    });
    check("rms_norm", |net| {
        let x = net.variable("x", 6, 11);
        net.rms_norm("norm", 1e-5, x)
    });
    check("layer_norm", |net| {
        let x = net.variable("x", 6, 11);
        net.layer_norm("norm", 1e-5, x)
    });
    check("dropout", |net| {
        let x = net.variable("x", 6, 5);
        net.dropout(0.3, x)
    });
    check("rope", |net| {
        let x = net.variable("x", 6, STRIDE);
        net.rope(&Arc::new(RopeTable::new(3, 2, 10_000.0)), 12, x)
    });
    check("learned_positions", |net| {
        let x = net.variable("x", 6, 5);
        net.learned_positions("table", 4, x)
    });
    check("sinusoidal_positions", |net| {
        let x = net.variable("x", 6, 5);
        net.sinusoidal_positions(x)
    });
    let causal = |net: &mut Recorder<Training, R>| {
        let qkv = net.variable("qkv", 35, STRIDE);
        net.attention(HEADS, Mask::Causal, qkv)
    };
    case("causal_attention").check(1, 35, causal, false);
    check("bidirectional_attention", |net| {
        let qkv = net.variable("qkv", 6, STRIDE);
        net.attention(HEADS, Mask::Bidirectional, qkv)
    });
    check("attention_with_dropout", |net| {
        let qkv = net.variable("qkv", 6, STRIDE);
        net.attention_with_dropout(HEADS, Mask::Causal, 0.3, qkv)
    });
    check("cross_attention", |net| {
        let (q, kv) = (net.variable("q", 6, 8), net.variable("kv", 10, 8));
        net.cross_attention(HEADS, q, kv)
    });
    check("swiglu", |net| {
        let x = net.variable("x", 6, 10);
        net.gated_activation(Function::Silu, x)
    });
    activation("silu", Function::Silu);
    activation("gelu", Function::Gelu);
    activation("gelu_tanh", Function::GeluTanh);
    activation("relu", Function::Relu);
    activation("squared_relu", Function::ReluSquared);
    check("mean", |net| {
        let x = net.variable("x", 6, 5);
        net.mean(x)
    });
    check("class_token", |net| {
        let x = net.variable("x", 6, 5);
        net.class_token("token", x)
    });
    check("first", |net| {
        let x = net.variable("x", 6, 5);
        net.first(x)
    });
    for (name, smoothing) in [("cross_entropy", 0.0), ("smoothed_cross_entropy", 0.1)] {
        let define = |net: &mut Recorder<Training, R>| {
            let logits = net.variable("x", 6, 7);
            net.cross_entropy(smoothing, logits)
        };
        case(name).check(2, 3, define, true);
    }
    let norm = |net: &mut Recorder<Training, R>| {
        let x = net.variable("x", 6, 5);
        net.batch_norm("norm", 1e-5, x)
    };
    let frozen = case("batch_norm").check(2, 3, norm, false);
    case("batch_norm").equal("frozen", &frozen);
}

#[test]
fn every_operation_equals_pytorch_in_f64() {
    compare::<f64>(1e-10);
}

#[test]
fn every_operation_equals_pytorch_in_f32() {
    compare::<f32>(2e-5);
}

/// The runtime rounds vectors to 14 bits before it rounds them to 8, and its factor has 15 bits.
#[test]
fn rounding_to_8_bits_takes_the_integers_of_pytorch() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let case = Case { file: &file, name: "fake_quantize", tolerance: 1e-3 };
    let define = |net: &mut Recorder<Training, f64>| {
        let x = net.variable("x", 6, 16);
        net.fake_quantize(InputWidth::A8, x)
    };
    case.check(2, 3, define, false);
}

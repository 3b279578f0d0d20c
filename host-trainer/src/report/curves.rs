//! What every step and every evaluation told.

use super::page::figure;
use crate::chart::{Lines, Mark, Series};
use crate::train::{Metrics, Step};

pub fn section(metrics: &Metrics) -> String {
    let series = |name, mark, points| Series { name, mark, points };
    let losses = Lines {
        x: "step",
        y: "loss, nats per token",
        from_zero: false,
        series: vec![
            series("train", Mark::Line, metrics.curve(|step| step.loss)),
            series("validation", Mark::Dots, metrics.validation()),
        ],
    };
    let one = |y, value: fn(&Step) -> f64| Lines {
        x: "step",
        y,
        from_zero: true,
        series: vec![series("", Mark::Line, metrics.curve(value))],
    };
    let mut charts = vec![
        figure(
            &losses.svg(),
            "Loss of the batches (means of neighbours where they are many) and on held-out text.",
        ),
        figure(&one("learning rate", |step| step.learning_rate).svg(), "Learning rate."),
        figure(
            &one("tokens per second", |step| step.tokens_per_second).svg(),
            "Throughput, evaluations not counted.",
        ),
        figure(&one("norm", |step| step.grad_norm).svg(), "Norm of the gradient before clipping."),
    ];
    let accuracy = metrics.accuracy();
    if !accuracy.is_empty() {
        let series = vec![series("", Mark::Dots, accuracy)];
        let lines = Lines { x: "step", y: "percent", from_zero: true, series };
        charts.insert(1, figure(&lines.svg(), "Accuracy on held-out texts."));
    }
    format!("<div class=\"curves\">\n{}</div>\n", charts.concat())
}

//! How the weights of each matrix are distributed.

use super::page::{figure, note};
use crate::chart::Histogram;
use crate::model::{Model, Tensor};

pub fn section(model: &Model) -> String {
    let mut html = note(
        "Share of a matrix's weights in percent over their values, on an axis as wide as the largest; int8 has 255 steps on it \
         for each row.",
    );
    html += "<div class=\"small\">\n";
    let matrices = || model.params().tensors().iter().filter(|tensor| tensor.is_matrix());
    let in_block = |tensor: &&Tensor| tensor.name.starts_with("layers.");
    // A block has as many matrices as a wide page has columns; what is outside of the blocks comes last.
    for tensor in matrices().filter(in_block).chain(matrices().filter(|tensor| !in_block(tensor))) {
        let histogram = Histogram::new(&model.params().values[tensor.range.clone()]);
        let caption =
            format!("{}: rms {:.3}, largest {:.2}", short(&tensor.name), histogram.rms(), histogram.peak());
        html += &figure(&histogram.svg(), &caption);
    }
    html + "</div>\n"
}

/// A tensor's name without what all names have.
pub fn short(name: &str) -> String {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let name = name.strip_prefix("layers.").unwrap_or(name);
    name.replace("attention.w", "w").replace("feed_forward.", "")
}

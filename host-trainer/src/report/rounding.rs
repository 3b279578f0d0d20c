//! What int8 takes from each matrix.

use super::page::note;
use super::weights::short;
use crate::chart::{Bar, bars};
use crate::export::quantize::Matrix;
use crate::model::Model;

pub fn section(model: &Model) -> String {
    let params = model.params();
    // Matrices by block; those outside of the blocks have a group of their own.
    let mut groups: Vec<(String, Vec<(String, f64)>)> = Vec::new();
    for tensor in params.tensors().iter().filter(|tensor| tensor.is_matrix()) {
        let name = short(&tensor.name);
        let (group, name) = match name.split_once('.') {
            Some((layer, rest)) if tensor.name.starts_with("layers.") => {
                (format!("block {layer}"), rest.to_owned())
            }
            _ => ("outside of the blocks".to_owned(), name),
        };
        let found = error(&params.values[tensor.range.clone()], tensor.shape[1]);
        match groups.iter_mut().find(|other| other.0 == group) {
            Some((_, rows)) => rows.push((name, found)),
            None => groups.push((group, vec![(name, found)])),
        }
    }
    let longest = groups.iter().flat_map(|group| &group.1).map(|row| row.1).fold(0.0, f64::max);
    let mut html = note(
        "Root mean square of what the exporter's int8 rounding takes from a matrix, in percent of the root mean square of its \
         weights: each row by its own scale, each weight to the nearest step. The exporter then equalises keys and moves errors \
         to where a text shows that they cost less.",
    );
    html += "<div class=\"bars\">\n";
    for (group, rows) in groups {
        let rows: Vec<Bar> = rows
            .into_iter()
            .map(|(name, value)| Bar { name, value, label: format!("{:.2} %", 100.0 * value) })
            .collect();
        html += &format!("<figure><h3>{group}</h3>{}</figure>\n", bars(&rows, longest));
    }
    html + "</div>\n"
}

/// The error of rounding a matrix, relative to its weights.
fn error(values: &[f32], cols: usize) -> f64 {
    let matrix = Matrix::round(values, cols);
    let unit = libm::exp2(f64::from(matrix.exponent));
    let rows = values.chunks(cols).zip(matrix.weights.chunks(cols)).zip(&matrix.scales);
    let (mut errors, mut squares) = (0.0, 0.0);
    for ((values, weights), &scale) in rows {
        for (&value, &weight) in values.iter().zip(weights) {
            let value = f64::from(value);
            errors += (f64::from(weight) * f64::from(scale) * unit - value).powi(2);
            squares += value * value;
        }
    }
    if squares > 0.0 { (errors / squares).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_what_steps_leave() {
        // Evenly spread over 254 steps: the error is a step over the root of 12, the weights' is 127 over the root of 3.
        let values: Vec<f32> = (0..2000).map(|i| i as f32 / 1000.0 - 0.9995).collect();
        let (found, wanted) = (error(&values, 2000), 1.0 / 12f64.sqrt() / (127.0 / 3f64.sqrt()));
        assert!((found / wanted - 1.0).abs() < 0.1, "{found}, wanted {wanted}");
        assert_eq!(error(&[0.0; 8], 4), 0.0);
    }
}

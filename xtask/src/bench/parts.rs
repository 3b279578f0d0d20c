//! Which part of a transformer a function belongs to: the one place to edit when functions move.

/// The parts, in the order of tables.
pub const PARTS: [&str; 7] = ["matvec", "attention", "norms", "activation", "quantize", "sampler", OTHER];

/// What belongs to no part: the residual stream, the session, the program around it, the compiler's own routines.
pub const OTHER: &str = "other";

/// A piece of a function's path, and its part. The first that matches counts.
const TABLE: [(&str, &str); 13] = [
    ("thumbformer::kernel::dsp::weighted", "attention"),
    ("::add_weighted_rows", "attention"),
    ("thumbformer::kernel::attention", "attention"),
    ("::arrange", "quantize"),
    ("thumbformer::kernel", "matvec"),
    ("thumbformer::linear", "matvec"),
    ("thumbformer::attention", "attention"),
    ("thumbformer::cache", "attention"),
    ("thumbformer::norm", "norms"),
    ("thumbformer::activation", "activation"),
    ("thumbformer::vector", "quantize"),
    ("thumbformer::sampler", "sampler"),
    ("thumbformer::logits", "sampler"),
];

/// The function that says what machine code is for, and the part: of the functions that it comes from, the innermost first,
/// the first that has a part. Helpers that many parts use have none, so that their callers decide.
pub fn part<'a>(functions: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, &'static str)> {
    functions.into_iter().find_map(|function| {
        let (_, part) = TABLE.iter().find(|(piece, _)| function.contains(piece))?;
        Some((function, *part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_with_a_part_decides() {
        let norm = "thumbformer::norm::Norm::apply";
        let helpers = ["core::iter::Zip::next", "thumbformer::shift::round_shift"];
        assert_eq!(part(helpers.into_iter().chain([norm])), Some((norm, "norms")));
        assert_eq!(part(helpers), None);
        let of = |functions: &[&'static str]| part(functions.iter().copied()).map(|(_, part)| part);
        assert_eq!(of(&["thumbformer::kernel::dsp::rows3"]), Some("matvec"));
        let arranged = ["thumbformer::kernel::dsp::arrange", "thumbformer::attention::attend"];
        assert_eq!(of(&arranged), Some("quantize"));
    }

    #[test]
    fn the_table_names_parts() {
        assert!(TABLE.iter().all(|(_, part)| PARTS.contains(part)));
    }
}

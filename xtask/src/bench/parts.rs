//! Which part of a transformer a function belongs to: the one place to edit when functions move.

/// The parts, in the order of tables.
pub const PARTS: [&str; 8] =
    ["matvec", "rescale", "attention", "norms", "activation", "quantize", "sampler", OTHER];

/// What belongs to no part: the residual stream, the session, the program around it, the compiler's own routines.
pub const OTHER: &str = "other";

/// A piece of a function's path, and its part. The first that matches counts.
const TABLE: &[(&str, &str)] = &[
    // Attention's own kernels, and what prepares and stores its vectors.
    ("thumbformer::kernel::attention", "attention"),
    ("thumbformer::kernel::armv6m::attention", "attention"),
    ("thumbformer::kernel::armv6m::softmax", "attention"),
    ("armv6m::vectors::rotate", "attention"),
    ("armv6m::vectors::store", "attention"),
    ("thumbformer::kernel::dsp::pair", "attention"),
    ("thumbformer::kernel::dsp::scores", "attention"),
    ("thumbformer::kernel::dsp::softmax", "attention"),
    ("thumbformer::kernel::mve::attention", "attention"),
    ("::arrange_pair", "attention"),
    ("passes::rotate", "attention"),
    ("passes::store", "attention"),
    ("passes::divide", "attention"),
    ("thumbformer::attention", "attention"),
    ("thumbformer::cache", "attention"),
    // The order and the width in which a matrix reads its vector.
    ("thumbformer::linear::Linear::inputs", "quantize"),
    ("thumbformer::kernel::product::Inputs", "quantize"),
    ("thumbformer::kernel::product::prepare", "quantize"),
    ("together::gathered", "matvec"),
    ("together::gather", "quantize"),
    ("rows::prepare", "quantize"),
    ("tiles::prepare", "quantize"),
    ("tiles::spread", "quantize"),
    ("offset_bytes::prepare", "quantize"),
    ("armv6m::operand", "quantize"),
    ("offset_bytes::pair", "quantize"),
    ("portable_tiles::bytes::prepare", "quantize"),
    ("portable_tiles::halves::prepare", "quantize"),
    ("sparse::prepare", "quantize"),
    ("kernel::sparse::list", "quantize"),
    ("thumbformer::kernel::sparse_bytes", "quantize"),
    ("int4::prepare", "quantize"),
    ("::arrange", "quantize"),
    ("passes::magnitude", "quantize"),
    ("passes::round", "quantize"),
    ("passes::peak", "quantize"),
    ("passes::scale", "quantize"),
    ("thumbformer::vector", "quantize"),
    ("armv6m::vectors::multiply", "norms"),
    ("armv6m::vectors::add", OTHER),
    ("thumbformer::kernel::armv6m::vectors", "quantize"),
    ("int4::spread", "quantize"),
    // Matrices in tiles.
    ("::int4", "matvec"),
    ("armv6m::whole_words", "matvec"),
    ("thumbformer::kernel::dsp::tiles", "matvec"),
    ("thumbformer::kernel::dsp::together", "matvec"),
    ("thumbformer::kernel::offset_bytes", "matvec"),
    ("thumbformer::kernel::portable_tiles", "matvec"),
    ("thumbformer::kernel::product", "matvec"),
    ("sparse::", "matvec"),
    ("::tiles", "matvec"),
    ("thumbformer::linear", "matvec"),
    ("::rescale", "rescale"),
    ("thumbformer::norm", "norms"),
    ("shift::rsqrt", "norms"),
    ("shift::isqrt", "norms"),
    ("passes::squares", "norms"),
    ("passes::multiply", "norms"),
    ("passes::activate", "activation"),
    ("thumbformer::kernel::mve::gate", "activation"),
    ("passes::Gate", "activation"),
    ("thumbformer::activation", "activation"),
    ("thumbformer::sampler", "sampler"),
    ("thumbformer::logits", "sampler"),
    ("passes::add", OTHER),
    ("thumbformer::block", OTHER),
    ("thumbformer::format", OTHER),
    ("thumbformer::model", OTHER),
    ("thumbformer::session", OTHER),
];

/// Kernels for rows. A model in tiles leaves them to attention; where its matrices are rows, too, nothing tells the two
/// apart, and all count as the matrices'.
const ROWS: [&str; 9] = [
    "::matvec_strided",
    "thumbformer::kernel::dsp::strided",
    "thumbformer::kernel::columns",
    "thumbformer::kernel::armv6m",
    "thumbformer::kernel::armv7m",
    "thumbformer::kernel::mve::long",
    "thumbformer::kernel::mve::resident",
    "thumbformer::kernel::mve::rows",
    "thumbformer::kernel::riscv",
];

/// The function that says what machine code is for, and the part: of the functions that it comes from, the innermost first,
/// the first that has a part. Helpers that many parts use have none, so that their callers decide. `in_tiles` says how
/// the model's matrices lie.
pub fn part<'a>(
    functions: impl IntoIterator<Item = &'a str>,
    in_tiles: bool,
) -> Option<(&'a str, &'static str)> {
    functions.into_iter().find_map(|function| {
        let has = |piece: &&str| function.contains(*piece);
        let of_rows = || ROWS.iter().any(has).then_some(if in_tiles { "attention" } else { "matvec" });
        let part = TABLE.iter().find(|(piece, _)| has(piece)).map(|(_, part)| *part).or_else(of_rows)?;
        Some((function, part))
    })
}

/// Whether a function is one of the runtime's, of which each has to have a part.
pub fn is_ours(function: &str) -> bool {
    function.contains("thumbformer::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_with_a_part_decides() {
        let norm = "thumbformer::norm::Norm::apply";
        let helpers = ["core::iter::Zip::next", "thumbformer::shift::round_shift"];
        assert_eq!(part(helpers.into_iter().chain([norm]), true), Some((norm, "norms")));
        assert_eq!(part(helpers, true), None);
        let of = |functions: &[&'static str]| part(functions.iter().copied(), true).map(|(_, part)| part);
        assert_eq!(of(&["thumbformer::kernel::dsp::tiles::a8"]), Some("matvec"));
        assert_eq!(of(&["thumbformer::kernel::dsp::tiles::prepare"]), Some("quantize"));
        let block_shift = "thumbformer::kernel::passes::BlockShift::round";
        assert_eq!(of(&[block_shift, "thumbformer::kernel::passes::activate_gated"]), Some("activation"));
        assert_eq!(of(&[block_shift, "thumbformer::kernel::passes::round"]), Some("quantize"));
    }

    #[test]
    fn kernels_for_rows_belong_to_whom_the_model_leaves_them() {
        let rows = "thumbformer::kernel::armv7m::matvec_strided";
        assert_eq!(part([rows], true), Some((rows, "attention")));
        assert_eq!(part([rows], false), Some((rows, "matvec")));
        let tiles = "thumbformer::kernel::armv7m::tiles8";
        assert_eq!(part([tiles], false), Some((tiles, "matvec")));
    }

    #[test]
    fn the_table_names_parts() {
        assert!(TABLE.iter().all(|(_, part)| PARTS.contains(part)));
    }
}

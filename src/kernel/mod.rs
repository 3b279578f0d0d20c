//! The inner loops.
#![allow(missing_docs)]
pub const NAME: &str = "portable";
pub fn arrange(_x: &mut [i16]) {}
pub fn matvec(weights: &[i8], x: &[i16], y: &mut [i32]) {
    for (row, y) in weights.chunks_exact(x.len()).zip(y) {
        *y = row.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
    }
}

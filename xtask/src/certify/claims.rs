//! What must not be in a program, told by the names of its symbols.

/// Code that ends in a panic.
const PANIC: [&str; 6] = [
    "core::panicking",
    "rust_begin_unwind",
    "core::slice::index::slice_",
    "unwrap_failed",
    "expect_failed",
    "begin_panic",
];

/// A division by zero, checked by the compiler or by the routines that divide.
const DIVISION: [&str; 4] = ["div_by_zero", "rem_by_zero", "__aeabi_idiv0", "__aeabi_ldiv0"];

/// A heap.
const HEAP: [&str; 7] = ["__rust_alloc", "__rust_realloc", "__rg_", "__rdl_", "alloc::", "malloc", "_sbrk"];

/// The names that tell of a panic.
pub fn panics<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    containing(names, &PANIC)
}

/// The names that tell of a division by zero.
pub fn divisions<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    containing(names, &DIVISION)
}

/// The names that tell of a heap.
pub fn heap<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    containing(names, &HEAP)
}

fn containing<'a>(names: impl IntoIterator<Item = &'a String>, parts: &[&str]) -> Vec<String> {
    names.into_iter().filter(|name| parts.iter().any(|part| name.contains(part))).cloned().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_tell() {
        let names =
            ["core::panicking::panic_const::panic_const_div_by_zero", "__rustc::__rust_alloc", "probe_step"]
                .map(str::to_owned);
        assert_eq!(super::panics(&names), names[..1]);
        assert_eq!(super::divisions(&names), names[..1]);
        assert_eq!(super::heap(&names), names[1..2]);
    }
}

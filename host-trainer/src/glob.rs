//! Patterns for the names of tensors: `*` stands for any characters, `?` for one.

/// Whether a pattern describes all of a name.
pub fn matches(pattern: &str, name: &str) -> bool {
    fn from(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|skipped| from(rest, &name[skipped..])),
            ([b'?', pattern @ ..], [_, name @ ..]) => from(pattern, name),
            ([wanted, pattern @ ..], [found, name @ ..]) => wanted == found && from(pattern, name),
            ([], []) => true,
            _ => false,
        }
    }
    from(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("norm.weight", "norm.weight", true),
            ("norm", "norm.weight", false),
            ("*", "", true),
            ("layers.0.*", "layers.0.attention.wq.weight", true),
            ("layers.0.*", "layers.10.attention.wq.weight", false),
            ("*.w?.weight", "layers.3.feed_forward.w2.weight", true),
            ("*.w?.weight", "layers.3.ffn_norm.weight", false),
            ("*norm*", "layers.3.ffn_norm.weight", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}

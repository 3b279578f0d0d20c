//! A WebAssembly module: what it imports, and its functions by name.

use anyhow::{Context, Result, ensure};

/// What is of interest of a module.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// How many things it imports.
    pub imports: u32,
    /// How many functions it has.
    pub functions: u32,
    /// The names of its functions.
    pub names: Vec<String>,
}

impl Module {
    /// Reads a module that has names.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"\0asm\x01\0\0\0"), "found no WebAssembly of version 1");
        let (mut module, mut rest) = (Self::default(), Reader(&bytes[8..]));
        while !rest.0.is_empty() {
            let kind = rest.byte()?;
            let len = rest.number()?;
            let mut section = Reader(rest.take(len)?);
            match kind {
                0 if section.text()? == "name" => module.names = names(section)?,
                2 => module.imports = section.number()?,
                3 => module.functions = section.number()?,
                _ => {}
            }
        }
        let (named, functions) = (module.names.len(), module.functions);
        ensure!(named == functions as usize, "found names of {named} functions, wanted all {functions}");
        Ok(module)
    }
}

/// The names of functions in the section of names.
fn names(mut section: Reader<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    while !section.0.is_empty() {
        let kind = section.byte()?;
        let len = section.number()?;
        let mut part = Reader(section.take(len)?);
        if kind == 1 {
            for _ in 0..part.number()? {
                part.number()?;
                names.push(part.text()?.to_owned());
            }
        }
    }
    Ok(names)
}

/// Bytes that are still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: u32) -> Result<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(len as usize).context("the module ends too early")?;
        self.0 = rest;
        Ok(part)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A number in LEB128.
    fn number(&mut self) -> Result<u32> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(number).context("a number is too large");
            }
        }
        anyhow::bail!("a number has too many bytes")
    }

    fn text(&mut self) -> Result<&'a str> {
        let len = self.number()?;
        Ok(std::str::from_utf8(self.take(len)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::Module;

    #[test]
    fn a_module_is_read() {
        let start = b"\0asm\x01\0\0\0";
        let named = b"\x03\x02\x01\x00\x00\x0b\x04name\x01\x04\x01\x00\x01f";
        let module = Module::read(&[&start[..], named].concat()).unwrap();
        assert_eq!(module, Module { imports: 0, functions: 1, names: vec!["f".to_owned()] });
        let unnamed = b"\x02\x07\x01\x01a\x01b\x00\x00\x03\x02\x01\x00";
        let error = Module::read(&[&start[..], unnamed].concat()).unwrap_err();
        assert!(error.to_string().contains("names of 0 functions"), "{error}");
        assert!(Module::read(&[&start[..], b"\x03\x09\x01"].concat()).is_err());
    }
}

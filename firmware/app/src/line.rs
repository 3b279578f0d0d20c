//! Reading a line of text.

use embedded_io::Read;

/// Reads up to the next newline, which is not part of the line. What does not fit is dropped; where the input ends before
/// the newline, so does the line.
pub fn read_line<'b, R: Read>(input: &mut R, buf: &'b mut [u8]) -> Result<&'b [u8], R::Error> {
    let mut len = 0;
    let mut byte = [0];
    while input.read(&mut byte)? == 1 && byte[0] != b'\n' {
        if let Some(place) = buf.get_mut(len) {
            *place = byte[0];
            len += 1;
        }
    }
    Ok(&buf[..len])
}

//! CRC-32 as in IEEE 802.3 (reflected, polynomial 0xEDB88320).

const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 4 {
            c = if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

/// The CRC-32 of `bytes`, a nibble at a time (a 64-byte table: flash is dearer than time here).
///
/// ```
/// assert_eq!(thumbformer::format::crc32(b"123456789"), 0xCBF4_3926);
/// ```
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |c: u32| (c >> 4) ^ TABLE[(c & 15) as usize];
    !bytes.iter().fold(!0, |c, &b| step(step(c ^ u32::from(b))))
}

//! What a JPEG's markers say: whether its data is whole, and how many colour components it has (ITU-T T.81, annex B).

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// True if the image data is complete; the decoder would fill a missing end with grey. Within coded image data a marker
/// byte is always escaped, so the data is complete if and only if an end marker follows the last start of scan.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let marker = |code: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, code]);
    let (start, end) = (marker(START_OF_SCAN), marker(END_OF_IMAGE));
    start.is_some_and(|start| end.is_some_and(|end| end > start))
}

/// Colour components of the first frame: 1 is grey, 3 is colour, 4 is CMYK or YCCK. `None` if there is no frame header.
pub(super) fn components(bytes: &[u8]) -> Option<u8> {
    let mut at = 0;
    loop {
        let &[0xFF, code] = bytes.get(at..at + 2)? else { return None };
        match code {
            // Fill bytes, and markers without a segment.
            0xFF => at += 1,
            0x01 | START_OF_IMAGE | 0xD0..=0xD7 => at += 2,
            END_OF_IMAGE | START_OF_SCAN => return None,
            // The excluded codes are Huffman tables, arithmetic conditioning and a reserved code.
            0xC0..=0xCF if ![0xC4, 0xC8, 0xCC].contains(&code) => return bytes.get(at + 9).copied(),
            _ => at += 2 + usize::from(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?])),
        }
    }
}

//! JPEG as Pillow reads it: by libjpeg, whose rounding and chroma interpolation other decoders do not repeat.

use std::panic;

use image::RgbImage;
use mozjpeg::Decompress;

/// The pixels of a stream with an end, before rotation. None where libjpeg has nothing to say: the stream is broken, or of
/// colours that it does not turn into RGB. The other decoder then tells what is wrong.
pub(super) fn decode(bytes: &[u8]) -> Option<RgbImage> {
    // The library reports a broken stream by unwinding.
    panic::catch_unwind(|| {
        let mut started = Decompress::new_mem(bytes).ok()?.rgb().ok()?;
        let (width, height) = (started.width() as u32, started.height() as u32);
        let pixels: Vec<u8> = started.read_scanlines().ok()?;
        started.finish().ok()?;
        RgbImage::from_raw(width, height, pixels)
    })
    .ok()
    .flatten()
}

/// Whether the end-of-image marker follows the last scan (ITU T.81, B.1.1.2): segments are skipped by their length, so
/// that a thumbnail's end does not count. What lacks it was cut off, which decoders fill with grey.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // Coded data, or fill bytes, up to a marker that is neither a stuffed zero nor a restart.
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff);
        let Some(at) = rest.windows(2).position(is_marker) else { return false };
        if rest[at + 1] == 0xd9 {
            return true;
        }
        let Some(length) = rest.get(at + 2..at + 4) else { return false };
        let segment = 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some(behind) = rest.get(at + segment..) else { return false };
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_behind_the_scans() {
        let thumbnail = [0xff, 0xe1, 0x00, 0x06, 0xff, 0xd8, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0x00, 0x02, 0x11, 0xff, 0x00, 0xff, 0xd3, 0x12];
        let start = [0xff, 0xd8];
        assert!(!has_end(&[&start[..], &thumbnail, &scan].concat()));
        assert!(has_end(&[&start[..], &thumbnail, &scan, &scan, &[0xff, 0xd9]].concat()));
        assert!(has_end(&[&start[..], &scan, &[0xff, 0xff, 0xd9, 0x00]].concat()));
        for bytes in [&[][..], &[0xff], &start, &[0xff, 0xd8, 0xff, 0xe1, 0x00]] {
            assert!(!has_end(bytes));
        }
    }
}

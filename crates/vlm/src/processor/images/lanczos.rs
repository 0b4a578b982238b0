//! Pillow's Lanczos filter on 8-bit pixels, to the last bit: libtorch has none, and filters that nearly equal it change
//! log-probs by a tenth.
//!
//! Rows are resized first, then columns, each to 8 bits; weights are fixed-point numbers of 22 bits (`Resample.c` of
//! Pillow; the filter is that of Duchon 1979).

use std::f64::consts::PI;

use image::RgbImage;
use reft_core::ImageSize;

/// Half the filter's width in pixels of the smaller picture.
const SUPPORT: f64 = 3.0;

/// Bits behind the point of a weight.
const PRECISION: u32 = 32 - 8 - 2;

/// An image in another size.
pub(super) fn resize(rgb: &RgbImage, size: ImageSize) -> RgbImage {
    let ImageSize { width, height } = size;
    let wide = if rgb.width() == width { rgb.clone() } else { resize_rows(rgb, width) };
    if wide.height() == height { wide } else { resize_columns(&wide, height) }
}

/// The pixels that one new pixel is made of, and their weights.
struct Taps {
    first: usize,
    weights: Vec<i64>,
}

/// The taps of each of `to` pixels along an axis of `from`.
fn taps(from: u32, to: u32) -> Vec<Taps> {
    let scale = f64::from(from) / f64::from(to);
    // Larger pictures are interpolated, smaller ones averaged.
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    let of_pixel = |pixel: u32| {
        let center = (f64::from(pixel) + 0.5) * scale;
        // Casts cut towards 0, as in C.
        let first = ((center - support + 0.5) as i64).max(0) as usize;
        let end = ((center + support + 0.5) as i64).min(i64::from(from)) as usize;
        let raw: Vec<f64> =
            (first..end).map(|x| lanczos((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let sum: f64 = raw.iter().sum();
        let fixed = |weight: f64| {
            let weight = if sum == 0.0 { weight } else { weight / sum };
            let scaled = weight * f64::from(1_u32 << PRECISION);
            (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i64
        };
        Taps { first, weights: raw.into_iter().map(fixed).collect() }
    };
    (0..to).map(of_pixel).collect()
}

/// `sinc(x) sinc(x / 3)` within three pixels.
fn lanczos(x: f64) -> f64 {
    if (-SUPPORT..SUPPORT).contains(&x) { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// The weighted sum of levels, rounded and clipped.
fn weighted(levels: impl Iterator<Item = u8>, weights: &[i64]) -> u8 {
    let half = 1_i64 << (PRECISION - 1);
    let sum = levels.zip(weights).fold(half, |sum, (level, weight)| sum + i64::from(level) * weight);
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn resize_rows(rgb: &RgbImage, width: u32) -> RgbImage {
    let (from, height) = rgb.dimensions();
    let taps = taps(from, width);
    let mut out = Vec::with_capacity(3 * width as usize * height as usize);
    for row in rgb.as_raw().chunks_exact(3 * from as usize) {
        for Taps { first, weights } in &taps {
            for channel in 0..3 {
                let levels = row[3 * first + channel..].iter().step_by(3).copied();
                out.push(weighted(levels, weights));
            }
        }
    }
    filled(width, height, out)
}

fn resize_columns(rgb: &RgbImage, height: u32) -> RgbImage {
    let (width, from) = rgb.dimensions();
    let row = 3 * width as usize;
    let mut out = Vec::with_capacity(row * height as usize);
    for Taps { first, weights } in taps(from, height) {
        for x in 0..row {
            let levels = rgb.as_raw()[first * row + x..].iter().step_by(row).copied();
            out.push(weighted(levels, &weights));
        }
    }
    filled(width, height, out)
}

fn filled(width: u32, height: u32, levels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(width, height, levels).unwrap_or_else(|| unreachable!("three levels a pixel"))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use reft_core::{ImageRef, ImageSource};

    use super::*;
    use crate::{checkpoint::read_tensors, processor::decode::decode_rgb};

    /// The golden file's `noise`.
    fn noise() -> RgbImage {
        let level = |i: u64| ((31 * i * i + 17 * i) % 256) as u8;
        RgbImage::from_raw(50, 40, (0..50 * 40 * 3).map(level).collect()).unwrap()
    }

    fn photo(path: &Path) -> RgbImage {
        let (width, height) = image::image_dimensions(path).unwrap();
        let photo = ImageRef {
            source: ImageSource::Path(path.to_owned()),
            size: ImageSize { width, height },
            label: Arc::from("photo"),
        };
        decode_rgb(&photo, &std::fs::read(path).unwrap()).unwrap()
    }

    /// Photographs and noise, larger and smaller, are Pillow's to the last bit (`fixtures/generate/golden_lanczos.py`).
    #[test]
    fn levels_are_pillows() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/photos");
        let golden = read_tensors(&folder.join("lanczos.safetensors")).unwrap();
        assert_eq!(golden.len(), 35);
        for (name, expected) in golden {
            let (file, size) = name.rsplit_once('.').unwrap();
            let (width, height) = size.split_once('x').unwrap();
            let size = ImageSize { width: width.parse().unwrap(), height: height.parse().unwrap() };
            let image = if file == "noise" { noise() } else { photo(&folder.join(file)) };
            let levels = resize(&image, size).into_raw();
            let expected = Vec::<u8>::try_from(expected).unwrap();
            let sampled: Vec<u8> = (0..expected.len()).map(|i| levels[i * 7919 % levels.len()]).collect();
            assert!(sampled == expected, "{name}");
        }
    }
}

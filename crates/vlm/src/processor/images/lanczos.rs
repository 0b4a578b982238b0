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

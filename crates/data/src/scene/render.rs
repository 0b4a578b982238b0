//! From placed glyphs to pixels: background, glyphs, noise.

use std::io::Cursor;

use image::{
    GrayImage, Luma, Rgb, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
    imageops,
};
use rand::{Rng, RngCore};

use super::{Background, Look, Placed, SceneParams};

/// Paints a scene. `glyphs[i]` is the picture of `placed[i]`, white on black.
pub(super) fn render(
    params: &SceneParams,
    look: &Look,
    placed: &[Placed],
    glyphs: &[&GrayImage],
    rng: &mut impl Rng,
) -> RgbImage {
    let dark = tinted(rng.random_range(params.background.clone()), params, rng);
    let bright = tinted(rng.random_range(params.ink.clone()), params, rng);
    let (paper, ink) = match look.background {
        Background::Bright => (bright, dark),
        Background::Dark | Background::Gradient | Background::Stripes => (dark, bright),
    };

    let mut canvas = RgbImage::from_pixel(params.canvas, params.canvas, paper);
    texture(&mut canvas, params, look.background, rng);
    for (glyph, digit) in glyphs.iter().zip(placed) {
        stamp(&mut canvas, glyph, digit, ink);
    }
    add_noise(&mut canvas, params.noise, rng);
    canvas
}

/// The canvas as PNG. Unfiltered: noise makes every filter's differences larger than the values, and 4.5 kB a scene
/// instead of 5 to 8 kB matters in a data set of a hundred thousand.
pub(super) fn encode_png(canvas: &RgbImage) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::with_capacity(8192);
    let encoder =
        PngEncoder::new_with_quality(Cursor::new(&mut bytes), CompressionType::Default, FilterType::NoFilter);
    canvas.write_with_encoder(encoder)?;
    Ok(bytes)
}

/// A grey with a slight colour.
fn tinted(grey: u8, params: &SceneParams, rng: &mut impl Rng) -> Rgb<u8> {
    let tint = i16::from(params.tint);
    Rgb([(); 3].map(|()| add(grey, rng.random_range(-tint..=tint))))
}

/// Blends a glyph into its patch, its grey taken as the amount of ink.
fn stamp(canvas: &mut RgbImage, glyph: &GrayImage, digit: &Placed, ink: Rgb<u8>) {
    let patch = imageops::resize(glyph, digit.side, digit.side, imageops::FilterType::CatmullRom);
    for (dx, dy, &Luma([amount])) in patch.enumerate_pixels() {
        let pixel = canvas.get_pixel_mut(digit.x + dx, digit.y + dy);
        for (channel, ink) in pixel.0.iter_mut().zip(ink.0) {
            let (under, over, amount) = (u32::from(*channel), u32::from(ink), u32::from(amount));
            *channel = ((under * (255 - amount) + over * amount + 127) / 255) as u8;
        }
    }
}

/// Brightens the paper along a direction: once over the whole canvas, or in waves of 6 to 12 pixels.
fn texture(canvas: &mut RgbImage, params: &SceneParams, background: Background, rng: &mut impl Rng) {
    let side = f64::from(params.canvas);
    let wave = match background {
        Background::Dark | Background::Bright => return,
        Background::Gradient => None,
        Background::Stripes => Some(rng.random_range(6.0..=12.0)),
    };
    let strength = f64::from(rng.random_range(params.texture.clone()));
    let (sin, cos) = rng.random_range(0.0..std::f64::consts::TAU).sin_cos();
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        // Distance from the middle along the direction, in canvas sides: -0.71 to 0.71.
        let along = ((f64::from(x) / side - 0.5) * cos) + ((f64::from(y) / side - 0.5) * sin);
        let level = match wave {
            None => (along / std::f64::consts::SQRT_2 + 0.5).clamp(0.0, 1.0),
            Some(length) => 0.5 + 0.5 * (along * side / length * std::f64::consts::TAU).sin(),
        };
        pixel.0 = pixel.0.map(|channel| add(channel, (level * strength) as i16));
    }
}

/// Adds an even deviation to every pixel, the same to its three channels.
fn add_noise(canvas: &mut RgbImage, noise: u8, rng: &mut impl RngCore) {
    if noise == 0 {
        return;
    }
    let mut bytes = vec![0; (canvas.width() * canvas.height()) as usize];
    rng.fill_bytes(&mut bytes);
    let levels = 2 * i16::from(noise) + 1;
    for (pixel, byte) in canvas.pixels_mut().zip(bytes) {
        let deviation = i16::from(byte) * levels / 256 - i16::from(noise);
        pixel.0 = pixel.0.map(|channel| add(channel, deviation));
    }
}

fn add(channel: u8, amount: i16) -> u8 {
    (i16::from(channel) + amount).clamp(0, 255) as u8
}

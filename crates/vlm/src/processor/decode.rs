//! Encoded image bytes to upright 8-bit RGB, as `transformers` 5 with Pillow makes it.
//!
//! EXIF orientation is applied. Transparency is laid over white with Pillow's integer arithmetic. Grey is repeated,
//! palettes are looked up, 16-bit channels keep their high byte. Of an animation the first frame is taken.
//! A file that was cut off is refused: nothing is learnt from half a picture.
//! One deliberate difference: Pillow clips 16-bit grey at 255, which turns most such images white; here they are
//! scaled like 16-bit colour.

use std::io::{self, Cursor};

use image::{
    ColorType, DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, RgbImage,
    buffer::ConvertBuffer as _,
    error::{LimitError, LimitErrorKind},
    metadata::Orientation,
};
use reft_core::{ImageRef, ImageSize};

use super::{ProcessorError, jpeg};

/// The pixels of an image that is encoded in `bytes`.
pub(crate) fn decode_rgb(image: &ImageRef, bytes: &[u8]) -> Result<RgbImage, ProcessorError> {
    let error = |message: String| ProcessorError::image(&image.label, message);
    if image.size.is_too_large() {
        return Err(error(format!("has more than {} pixels; shrink it", ImageSize::MAX_PIXELS)));
    }
    let decoded =
        decode(bytes).map_err(|e| error(format!("cannot be decoded ({e}); replace or remove it")))?;
    let rgb = to_rgb(decoded);
    let (width, height) = rgb.dimensions();
    if (width, height) != (image.size.width, image.size.height) {
        return Err(error(format!(
            "is {width}x{height} upright, its data set says {}x{}",
            image.size.width, image.size.height
        )));
    }
    Ok(rgb)
}

/// Whether an image can be read and decoded.
pub fn check_image(image: &ImageRef) -> Result<(), ProcessorError> {
    let bytes = image.source.read().map_err(|e| ProcessorError::image(&image.label, e))?;
    decode_rgb(image, &bytes).map(drop)
}

fn decode(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    if is_jpeg && !jpeg::has_end(bytes) {
        // Both decoders would fill the rest with grey.
        return Err(
            io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends early; was it cut off?").into()
        );
    }
    let mut decoder = reader.into_decoder()?;
    // A broken EXIF block does not make the pixels unusable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = decoder.dimensions();
    if (ImageSize { width, height }).is_too_large() {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)));
    }
    let mut image = match is_jpeg.then(|| jpeg::decode(bytes)).flatten() {
        Some(rgb) => rgb.into(),
        None => DynamicImage::from_decoder(decoder)?,
    };
    if matches!(image.color(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(
            io::Error::new(io::ErrorKind::InvalidData, "its pixels are floating-point numbers").into()
        );
    }
    image.apply_orientation(orientation);
    Ok(image)
}

fn to_rgb(image: DynamicImage) -> RgbImage {
    match image.color() {
        ColorType::Rgba8 | ColorType::La8 => over_white(&image.into_rgba8()),
        ColorType::L16 | ColorType::Rgb16 => high_bytes(&image.into_rgba16()).convert(),
        ColorType::La16 | ColorType::Rgba16 => over_white(&high_bytes(&image.into_rgba16())),
        // 8-bit colour and grey; floating-point numbers are refused.
        _ => image.into_rgb8(),
    }
}

type Rgba16Image = image::ImageBuffer<image::Rgba<u16>, Vec<u16>>;

fn high_bytes(image: &Rgba16Image) -> image::RgbaImage {
    image::RgbaImage::from_fn(image.width(), image.height(), |x, y| {
        image::Rgba(image.get_pixel(x, y).0.map(|channel| (channel >> 8) as u8))
    })
}

/// Pillow's `alpha_composite` over opaque white: seven extra bits, rounded division by 255.
fn over_white(image: &image::RgbaImage) -> RgbImage {
    let blend = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        let sum = (colour * alpha + 255 * (255 - alpha)) * 128 + (0x80 << 7);
        ((((sum >> 8) + sum) >> 8) >> 7) as u8
    };
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0;
        image::Rgb([r, g, b].map(|colour| blend(colour, a)))
    })
}

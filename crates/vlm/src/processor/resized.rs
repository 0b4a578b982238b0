//! Decoded and resized images that are kept from one encoding to the next: a step's prompts are encoded for the rollout
//! and again for training, and a KL reference, an evaluation or the next epoch reads the same pictures.
//!
//! Kept are 8-bit pixels, an eighth of the patches that become of them (fp32, two frames).

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;
use reft_core::ImageSize;
use tch::Tensor;

use super::{ImageKey, ProcessorError};

/// The least recently used are dropped when they exceed a budget.
pub(super) struct ResizedImages {
    budget: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    images: LruCache<(ImageKey, ImageSize), Tensor>,
    bytes: usize,
}

impl ResizedImages {
    /// Keeps at most `budget` bytes of pixels.
    pub(super) fn within(budget: usize) -> Self {
        Self { budget, kept: Mutex::new(Kept { images: LruCache::unbounded(), bytes: 0 }) }
    }

    /// `[v, 3, h, w]` 8-bit pixels of the views of an image that its data set says is of `size`; made by `resize` when they are not here.
    pub(super) fn find(
        &self,
        key: ImageKey,
        size: ImageSize,
        resize: impl FnOnce() -> Result<Tensor, ProcessorError>,
    ) -> Result<Tensor, ProcessorError> {
        if let Some(pixels_vchw) = self.lock(|kept| kept.images.get(&(key, size)).map(Tensor::shallow_clone))
        {
            return Ok(pixels_vchw);
        }
        let pixels_vchw = resize()?;
        self.lock(|kept| kept.put((key, size), pixels_vchw.shallow_clone(), self.budget));
        Ok(pixels_vchw)
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        // Whoever panicked with it left nothing half done that matters: pixels are made anew.
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn put(&mut self, key: (ImageKey, ImageSize), pixels_vchw: Tensor, budget: usize) {
        self.bytes += pixels_vchw.numel();
        let replaced = self.images.put(key, pixels_vchw);
        self.bytes -= replaced.map_or(0, |pixels| pixels.numel());
        while self.bytes > budget {
            let Some((_, dropped)) = self.images.pop_lru() else { break };
            self.bytes -= dropped.numel();
        }
    }
}

impl fmt::Debug for ResizedImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResizedImages").field("budget", &self.budget).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    const SIZE: ImageSize = ImageSize { width: 10, height: 10 };

    fn key(name: &str) -> ImageKey {
        ImageKey::of(name.as_bytes(), "")
    }

    fn pixels(bytes: i64) -> Tensor {
        Tensor::zeros([bytes], (Kind::Uint8, tch::Device::Cpu))
    }

    /// Whether an image of four bytes was there; it is now, where there is room.
    fn is_kept(images: &ResizedImages, name: &str, size: ImageSize) -> bool {
        let mut made = false;
        let resize = || {
            made = true;
            Ok(pixels(4))
        };
        assert_eq!(images.find(key(name), size, resize).unwrap().numel(), 4);
        !made
    }

    #[test]
    fn images_are_resized_once_and_the_oldest_go() {
        let images = ResizedImages::within(9);
        assert!(!is_kept(&images, "a", SIZE));
        assert!(!is_kept(&images, "b", SIZE));
        assert!(is_kept(&images, "a", SIZE));
        // No room for three: `b` was used before `a`.
        assert!(!is_kept(&images, "c", SIZE));
        assert!(is_kept(&images, "a", SIZE));
        assert!(!is_kept(&images, "b", SIZE));
        // What a data set says of its size is checked where an image is decoded.
        assert!(!is_kept(&images, "b", ImageSize { width: 9, ..SIZE }));
    }

    #[test]
    fn an_image_that_exceeds_the_budget_is_not_kept_and_errors_are_not() {
        let images = ResizedImages::within(3);
        assert!(!is_kept(&images, "large", SIZE));
        assert!(!is_kept(&images, "large", SIZE));
        let broken = || Err(ProcessorError::Tokenizer("broken".into()));
        assert!(images.find(key("broken"), SIZE, broken).is_err());
        assert_eq!(images.find(key("broken"), SIZE, || Ok(pixels(1))).unwrap().numel(), 1);
    }
}

//! Where numbers stop being finite on their way through the network.

use tch::Tensor;

use super::{Network, PackedBatch, PackedImages, vision::VisionTower};

impl Network {
    /// The first part on a batch's way through the network whose numbers are not all finite; none when they are.
    pub fn first_non_finite(&self, batch: &PackedBatch) -> Option<String> {
        tch::no_grad(|| {
            if let Some(images) = &batch.images {
                if !is_finite(&images.pixels_pd()) {
                    return Some("pixels".into());
                }
                if let Some(part) = self.vision.first_non_finite(images) {
                    return Some(part);
                }
            }
            let decoder = &self.decoder;
            let input = self.embed(batch);
            if !is_finite(input.hidden()) {
                return Some("embeddings".into());
            }
            let rotary = decoder.rotary(&batch.positions_3t, input.hidden().kind());
            let mut x_td = input.hidden().shallow_clone();
            for layer in 0..decoder.n_layers() {
                let mut plan = batch;
                x_td = decoder.layer(layer, &x_td, &input, &rotary, &mut plan);
                if !is_finite(&x_td) {
                    return Some(format!("hidden states behind layer {layer}"));
                }
            }
            x_td = decoder.finish(&x_td).index_select(0, &batch.predictors_c);
            (!is_finite(&decoder.logits(&x_td))).then(|| "logits".into())
        })
    }
}

impl VisionTower {
    fn first_non_finite(&self, images: &PackedImages) -> Option<String> {
        let (pixels_pd, grids) = (images.pixels_pd(), &images.grids);
        let steps = self.blocks();
        let positions = steps.positions(grids, pixels_pd.kind(), pixels_pd.device());
        let mut x_pd = steps.embed(&pixels_pd, grids, &positions);
        for block in 0..steps.n_blocks() {
            x_pd = steps.block(block, &x_pd, &positions);
            if !is_finite(&x_pd) {
                return Some(format!("hidden states behind block {block} of the vision tower"));
            }
        }
        (!is_finite(&steps.merge(&x_pd, &positions))).then(|| "image features".into())
    }
}

fn is_finite(x: &Tensor) -> bool {
    x.isfinite().all().int64_value(&[]) == 1
}

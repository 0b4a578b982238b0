//! A forward pass that training goes back through: with the whole graph in memory, or with recomputation.
//!
//! With recomputation (Chen et al. 2016, arXiv 1604.06174) only the inputs of layers are kept. The backward pass takes
//! layers from the last to the first: each is run again on its input, with a graph of its own, and the gradient of its
//! output becomes that of its input. Every layer runs the same operations on the same numbers, so gradients are those of
//! the whole graph.
//!
//! Axes in tensor names: t packed token, p patch, m image token, d width.

use tch::{Kind, Tensor};

use super::{
    DecoderInput, Network, PackedBatch, PackedImages, VisionFeatures,
    layers::Rotary,
    vision::{PatchPositions, VisionTower},
};

/// What a forward pass keeps for the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything.
    Graph,
    /// The inputs of layers; they are run again.
    LayerInputs,
}

impl Keep {
    /// As the key `recompute` of a phase says.
    pub fn new(recompute: bool) -> Self {
        if recompute { Self::LayerInputs } else { Self::Graph }
    }
}

/// A forward pass, to be gone back through once.
pub struct ForwardPass<'a> {
    hidden_td: Tensor,
    recomputed: Option<Recomputed<'a>>,
}

impl Network {
    /// Runs a packed batch for training.
    pub fn pass<'a>(&'a self, batch: &'a PackedBatch, keep: Keep) -> ForwardPass<'a> {
        match keep {
            Keep::Graph => ForwardPass { hidden_td: self.forward(batch), recomputed: None },
            Keep::LayerInputs => {
                let (recomputed, hidden_td) = Recomputed::forward(self, batch);
                ForwardPass { hidden_td, recomputed: Some(recomputed) }
            }
        }
    }
}

impl ForwardPass<'_> {
    /// Hidden states `[t, width]`, without gradient.
    pub fn hidden(&self) -> Tensor {
        self.hidden_td.detach()
    }

    /// Adds to the parameters the gradient of a loss whose gradient at the hidden states is `grad_td`.
    pub fn backward(self, grad_td: &Tensor) {
        match self.recomputed {
            Some(recomputed) => recomputed.backward(grad_td),
            None => go_back(&self.hidden_td, grad_td),
        }
    }
}

/// Backward from `y` with the gradient of a loss at `y`: the gradient of this sum is the vector-Jacobian product.
fn go_back(y: &Tensor, grad: &Tensor) {
    if y.requires_grad() {
        (y * grad).sum(Kind::Float).backward();
    }
}

/// A leaf that takes a gradient, with the values of `x`.
fn leaf(x: &Tensor) -> Tensor {
    x.detach().set_requires_grad(true)
}

/// What is kept of a pass with recomputation.
struct Recomputed<'a> {
    network: &'a Network,
    batch: &'a PackedBatch,
    /// Of a tower that learns.
    vision: Option<VisionPass<'a>>,
    rotary: Rotary,
    input: DecoderInput,
    embedding_learns: bool,
    layers: Chain,
    last_td: Tensor,
}

impl<'a> Recomputed<'a> {
    fn forward(network: &'a Network, batch: &'a PackedBatch) -> (Self, Tensor) {
        let decoder = &network.decoder;
        let learning = batch.images.as_ref().filter(|_| network.vision.fixed().is_none());
        let vision = learning.map(|images| VisionPass::forward(&network.vision, images));
        let embedded = embed(network, batch, vision.as_ref());
        let embedding_learns = embedded.hidden().requires_grad();
        let input = embedded.detach_hidden();
        let rotary = decoder.rotary(&batch.positions_3t, input.hidden().kind());

        let run = |layer: usize, x_td: &Tensor| {
            let mut plan = batch;
            Step { next: decoder.layer(layer, x_td, &input, &rotary, &mut plan), tap: None }
        };
        let (layers, last_td, _) = Chain::forward(input.hidden(), decoder.n_layers(), run);
        let hidden_td = decoder.finish(&last_td).detach();
        (Self { network, batch, vision, rotary, input, embedding_learns, layers, last_td }, hidden_td)
    }

    fn backward(self, grad_td: &Tensor) {
        let Self { network, batch, vision, rotary, input, embedding_learns, layers, last_td } = self;
        let decoder = &network.decoder;
        let last_td = leaf(&last_td);
        go_back(&decoder.finish(&last_td), grad_td);

        let run = |layer: usize, x_td: &Tensor| {
            let mut plan = batch;
            Step { next: decoder.layer(layer, x_td, &input, &rotary, &mut plan), tap: None }
        };
        let Some(grad_td) = layers.backward(last_td.grad(), Vec::new(), embedding_learns, run) else {
            return;
        };
        go_back(embed(network, batch, vision.as_ref()).hidden(), &grad_td);
        if let Some(vision) = vision {
            vision.backward();
        }
    }
}

/// Embeddings with the features of a pass in place.
fn embed(network: &Network, batch: &PackedBatch, vision: Option<&VisionPass<'_>>) -> DecoderInput {
    match vision {
        Some(pass) => pass.images.put(&network.decoder.embed(&batch.tokens_t), pass.features.share()),
        None => network.embed(batch),
    }
}

/// What is kept of the tower.
struct VisionPass<'a> {
    tower: &'a VisionTower,
    images: &'a PackedImages,
    pixels_pd: Tensor,
    positions: PatchPositions,
    blocks: Chain,
    embedding_learns: bool,
    last_pd: Tensor,
    /// Leaves in which the decoder's gradient is collected.
    features: VisionFeatures,
    /// The block of each of the deepstack features.
    tapped: Vec<usize>,
}

impl<'a> VisionPass<'a> {
    fn forward(tower: &'a VisionTower, images: &'a PackedImages) -> Self {
        let (pixels_pd, grids) = (images.pixels_pd(), &images.grids);
        let steps = tower.blocks();
        let positions = steps.positions(grids, pixels_pd.kind(), pixels_pd.device());
        let embedded_pd = steps.embed(&pixels_pd, grids, &positions);
        let embedding_learns = embedded_pd.requires_grad();
        let run = |block: usize, x_pd: &Tensor| {
            let next = steps.block(block, x_pd, &positions);
            Step { tap: steps.tap(block, &next), next }
        };
        let (blocks, last_pd, taps) = Chain::forward(&embedded_pd, steps.n_blocks(), run);
        let tokens_md = steps.merge(&last_pd, &positions);

        let (mut tapped, mut deepstack) = (Vec::new(), Vec::new());
        for (block, tap) in taps.into_iter().enumerate() {
            if let Some(tap) = tap {
                tapped.push(block);
                deepstack.push(leaf(&tap));
            }
        }
        let features = VisionFeatures { tokens_md: leaf(&tokens_md), deepstack };
        Self { tower, images, pixels_pd, positions, blocks, embedding_learns, last_pd, features, tapped }
    }

    /// With the gradients that the features have collected.
    fn backward(self) {
        let Self { tower, images, pixels_pd, positions, blocks, embedding_learns, last_pd, features, tapped } =
            self;
        let steps = tower.blocks();
        let last_pd = leaf(&last_pd);
        go_back(&steps.merge(&last_pd, &positions), &features.tokens_md.grad());

        let mut tap_grads: Vec<Option<Tensor>> = (0..steps.n_blocks()).map(|_| None).collect();
        for (block, feature) in tapped.into_iter().zip(&features.deepstack) {
            let grad = feature.grad();
            tap_grads[block] = grad.defined().then_some(grad);
        }
        let run = |block: usize, x_pd: &Tensor| {
            let next = steps.block(block, x_pd, &positions);
            Step { tap: steps.tap(block, &next), next }
        };
        if let Some(grad_pd) = blocks.backward(last_pd.grad(), tap_grads, embedding_learns, run) {
            go_back(&steps.embed(&pixels_pd, &images.grids, &positions), &grad_pd);
        }
    }
}

/// What a step of a chain gives: the next step's input, and something that leaves the chain.
struct Step {
    next: Tensor,
    tap: Option<Tensor>,
}

/// Steps of which only the inputs are kept.
struct Chain {
    inputs: Vec<Tensor>,
    /// Whether a step has parameters that learn.
    learns: Vec<bool>,
}

impl Chain {
    /// Runs the steps; also returns what comes behind the last one, and the taps. Each step's graph is dropped at once:
    /// it only tells whether anything in it learns.
    fn forward(
        x: &Tensor,
        steps: usize,
        run: impl Fn(usize, &Tensor) -> Step,
    ) -> (Self, Tensor, Vec<Option<Tensor>>) {
        let mut chain = Self { inputs: Vec::with_capacity(steps), learns: Vec::with_capacity(steps) };
        let (mut x, mut taps) = (x.detach(), Vec::with_capacity(steps));
        for i in 0..steps {
            let Step { next, tap } = run(i, &x);
            let tap_learns = tap.as_ref().is_some_and(Tensor::requires_grad);
            chain.learns.push(next.requires_grad() || tap_learns);
            chain.inputs.push(std::mem::replace(&mut x, next.detach()));
            taps.push(tap.map(|tap| tap.detach()));
        }
        (chain, x, taps)
    }

    /// Goes back from the gradients behind the last step and of the taps; returns the gradient of the first input when
    /// it is wanted, and leaves out steps before which nothing learns.
    fn backward(
        self,
        grad: Tensor,
        mut tap_grads: Vec<Option<Tensor>>,
        input_learns: bool,
        run: impl Fn(usize, &Tensor) -> Step,
    ) -> Option<Tensor> {
        let first = if input_learns { 0 } else { self.learns.iter().position(|&learns| learns)? };
        let mut grad = grad;
        for (i, x) in self.inputs.into_iter().enumerate().skip(first).rev() {
            let x = leaf(&x);
            let Step { next, tap } = run(i, &x);
            let from_next = (&next * &grad).sum(Kind::Float);
            match (tap, tap_grads.get_mut(i).and_then(Option::take)) {
                (Some(tap), Some(tap_grad)) => (from_next + (tap * tap_grad).sum(Kind::Float)).backward(),
                _ => from_next.backward(),
            }
            grad = x.grad();
        }
        input_learns.then_some(grad)
    }
}

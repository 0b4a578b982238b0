//! Parameters: declared once by the modules, stored in a few flat buffers.
//!
//! A module asks a [`ParamSource`] for each of its parameters by checkpoint name and shape. Asked with [`Declared`], the
//! same constructors list what a checkpoint must hold; asked with [`ParamStore`], they get the tensors.
//!
//! Every parameter is a view into a flat buffer, one per part of the model and kind of parameter. So an optimizer is a
//! handful of operations on flat tensors, a KL reference is a copy of a few buffers, and a gradient norm is one sum.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

/// Part of the model, for freezing and for learning rates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartOfModel {
    /// Vision tower without merger.
    VisionTower,
    /// Mergers between tower and decoder, DeepStack's too.
    Merger,
    /// Embedding, decoder and head.
    Decoder,
}

impl PartOfModel {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::VisionTower, Self::Merger, Self::Decoder];

    fn of(name: &str) -> Self {
        if name.starts_with("visual.merger.") || name.starts_with("visual.deepstack_merger_list.") {
            Self::Merger
        } else if name.starts_with("visual.") {
            Self::VisionTower
        } else {
            Self::Decoder
        }
    }
}

/// Which buffer a parameter lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferKey {
    /// Part of the model.
    pub part: PartOfModel,
    /// Matrices decay, norms and biases do not.
    pub decays: bool,
}

/// Name and shape of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name in the checkpoint, in the layout of published checkpoints (`model.layers.0...`, `visual....`).
    pub name: String,
    /// Shape.
    pub shape: Vec<i64>,
}

impl ParamSpec {
    /// The part of the model that it belongs to.
    pub fn part(&self) -> PartOfModel {
        PartOfModel::of(&self.name)
    }

    /// The buffer that holds it.
    pub fn buffer(&self) -> BufferKey {
        BufferKey { part: self.part(), decays: self.shape.len() > 1 }
    }

    /// Number of elements.
    pub fn numel(&self) -> i64 {
        self.shape.iter().product()
    }
}

/// Where modules get their parameters from.
pub trait ParamSource {
    /// The parameter of this name and shape.
    fn param(&mut self, name: String, shape: &[i64]) -> Tensor;
}

/// Lists what is asked for.
#[derive(Default)]
pub struct Declared(pub Vec<ParamSpec>);

impl ParamSource for Declared {
    fn param(&mut self, name: String, shape: &[i64]) -> Tensor {
        self.0.push(ParamSpec { name, shape: shape.to_vec() });
        Tensor::new()
    }
}

/// All parameters of a model, as views into flat buffers.
pub struct ParamStore {
    buffers: BTreeMap<BufferKey, Tensor>,
    /// In the order of declaration: buffer, offset in it, and the view.
    params: Vec<Param>,
    next: usize,
}

/// One parameter.
pub struct Param {
    /// Name and shape.
    pub spec: ParamSpec,
    /// The buffer that holds it.
    pub buffer: BufferKey,
    /// Its view of the buffer; a leaf that gradients are accumulated in.
    pub tensor: Tensor,
}

impl ParamStore {
    /// Buffers of zeros for the given parameters.
    pub fn zeros(specs: &[ParamSpec], kind: Kind, device: Device) -> Self {
        let mut sizes: BTreeMap<BufferKey, i64> = BTreeMap::new();
        for spec in specs {
            *sizes.entry(spec.buffer()).or_default() += spec.numel();
        }
        let buffers = sizes.into_iter().map(|(key, n)| (key, Tensor::zeros([n], (kind, device)))).collect();
        Self::over(buffers, specs)
    }

    /// A frozen copy with buffers of its own: a KL reference.
    #[must_use]
    pub fn frozen_copy(&self) -> Self {
        let specs: Vec<ParamSpec> = self.params.iter().map(|p| p.spec.clone()).collect();
        Self::over(self.buffers.iter().map(|(&key, buffer)| (key, buffer.copy())).collect(), &specs)
    }

    fn over(buffers: BTreeMap<BufferKey, Tensor>, specs: &[ParamSpec]) -> Self {
        let mut offsets: BTreeMap<BufferKey, i64> = BTreeMap::new();
        let params = specs
            .iter()
            .map(|spec| {
                let buffer = spec.buffer();
                let offset = offsets.entry(buffer).or_default();
                // `detach` makes the view a leaf of its own; it still shares the buffer's memory.
                let tensor =
                    buffers[&buffer].narrow(0, *offset, spec.numel()).view(spec.shape.as_slice()).detach();
                *offset += spec.numel();
                Param { spec: spec.clone(), buffer, tensor }
            })
            .collect();
        Self { buffers, params, next: 0 }
    }

    /// The flat buffers in a fixed order.
    pub fn buffers(&self) -> &BTreeMap<BufferKey, Tensor> {
        &self.buffers
    }

    /// The parameters in order of declaration, which is also their order within a buffer.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Sets which parts take gradients.
    pub fn set_trainable(&self, trainable: impl Fn(PartOfModel) -> bool) {
        for param in &self.params {
            // The flag belongs to the tensor that all handles share, the modules' too.
            let _ = param.tensor.set_requires_grad(trainable(param.buffer.part));
        }
    }

    /// The gradients of a buffer, flat, in its order; zeros where a parameter took no part.
    pub fn flat_grad(&self, key: BufferKey) -> Tensor {
        let grads: Vec<Tensor> = self
            .params
            .iter()
            .filter(|p| p.buffer == key)
            .map(|p| {
                let grad = p.tensor.grad();
                if grad.defined() {
                    grad.flatten(0, -1)
                } else {
                    p.tensor.detach().zeros_like().flatten(0, -1)
                }
            })
            .collect();
        Tensor::cat(&grads, 0)
    }

    /// Forgets all gradients.
    pub fn zero_grad(&mut self) {
        for param in &mut self.params {
            param.tensor.zero_grad();
        }
    }

    /// Number of parameters.
    pub fn numel(&self) -> i64 {
        self.params.iter().map(|p| p.spec.numel()).sum()
    }
}

/// Hands out the views in order of declaration: modules are built by the same code that declared them.
impl ParamSource for ParamStore {
    fn param(&mut self, name: String, shape: &[i64]) -> Tensor {
        let param = &self.params[self.next];
        assert!(
            param.spec.name == name && param.spec.shape == shape,
            "modules are built in the order they declare"
        );
        self.next = (self.next + 1) % self.params.len();
        param.tensor.shallow_clone()
    }
}

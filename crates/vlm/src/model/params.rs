//! Parameters: declared once by the modules, stored in a few flat buffers.
//!
//! A module asks a [`ParamSource`] for each of its parameters by checkpoint name and shape. Asked with [`Declared`], the
//! same constructors list what a checkpoint must hold; asked with [`ParamStore`], they get the tensors.
//!
//! Every parameter is a view into a flat buffer, one per part of the model and kind of parameter. So an optimizer is a
//! handful of operations on flat tensors, a KL reference is a copy of a few buffers, and a gradient norm is one sum.
//! Gradients lie in flat buffers of their own in the same order, in which backward passes accumulate in place.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use reft_autograd::set_grad;
use tch::{Device, Kind, Tensor, no_grad};

use super::LowRank;

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

impl BufferKey {
    /// As checkpoints of optimizers name it.
    pub fn name(self) -> String {
        let part = match self.part {
            PartOfModel::VisionTower => "vision_tower",
            PartOfModel::Merger => "merger",
            PartOfModel::Decoder => "decoder",
        };
        format!("{part}.{}", if self.decays { "matrices" } else { "vectors" })
    }
}

/// Name and shape of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name in the checkpoint, in the layout of published checkpoints (`model.layers.0...`, `visual....`).
    pub name: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// Its rows lie under those of the parameter before it, in one tensor that a module uses as a whole.
    pub stacked: bool,
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
    /// One tensor whose rows are those of the named parameters, one after another: `rows` of each, of shape `row`.
    /// A fused projection is one product with what a checkpoint holds as several matrices.
    fn stacked(&mut self, parts: &[(String, i64)], row: &[i64]) -> Tensor;

    /// The parameter of this name and shape.
    fn param(&mut self, name: String, shape: &[i64]) -> Tensor {
        self.stacked(&[(name, shape[0])], &shape[1..])
    }

    /// The low-rank update of a linear layer, when it has one. Asked for every layer, in order.
    fn low_rank(&mut self, _layer: &LinearSpec) -> Option<LowRank> {
        None
    }

    /// The vision part of the memory behind what was handed out so far; none where a module does not give the same numbers
    /// each time (dropout), or has no numbers at all.
    fn vision_memory(&self) -> Option<Vec<VisionMemory>> {
        None
    }
}

/// A linear layer that can have a low-rank update, by its name in the layout of published checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearSpec {
    /// `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Numbers per token that it reads.
    pub input: i64,
    /// Numbers per token that it gives.
    pub output: i64,
}

/// Lists the linear layers that ask for an update.
#[derive(Default)]
pub struct Linears(pub Vec<LinearSpec>);

impl ParamSource for Linears {
    fn stacked(&mut self, _parts: &[(String, i64)], _row: &[i64]) -> Tensor {
        Tensor::new()
    }

    fn low_rank(&mut self, layer: &LinearSpec) -> Option<LowRank> {
        self.0.push(layer.clone());
        None
    }
}

/// Lists what is asked for.
#[derive(Default)]
pub struct Declared(pub Vec<ParamSpec>);

impl ParamSource for Declared {
    fn stacked(&mut self, parts: &[(String, i64)], row: &[i64]) -> Tensor {
        for (i, (name, rows)) in parts.iter().enumerate() {
            let shape = [&[*rows], row].concat();
            self.0.push(ParamSpec { name: name.clone(), shape, stacked: i > 0 });
        }
        Tensor::new()
    }
}

/// All parameters of a model, as views into flat buffers.
pub struct ParamStore {
    buffers: BTreeMap<BufferKey, Tensor>,
    /// The gradients of the buffers that learn, in the order of the parameters; those of leaves are views.
    gradients: RefCell<BTreeMap<BufferKey, Tensor>>,
    /// In the order of declaration.
    params: Vec<Param>,
    /// In the order of declaration: what modules use and gradients accumulate in.
    leaves: Vec<Leaf>,
    /// Tells this memory from any other, also from one that will lie at the same address.
    identity: Arc<()>,
}

/// Handles of a store's tower and mergers.
pub struct VisionMemory {
    identity: Arc<()>,
    buffers: Vec<Tensor>,
    leaves: Vec<Tensor>,
}

/// Weights at one time: whose they are, and how often each buffer has been written to.
#[derive(Debug)]
pub(super) struct Version {
    identity: Weak<()>,
    writes: Vec<i64>,
}

impl VisionMemory {
    /// As it is now. libtorch counts writes to a buffer and to all views of it together.
    pub(super) fn version(&self) -> Version {
        let writes = self.buffers.iter().map(Tensor::internal_version).collect();
        Version { identity: Arc::downgrade(&self.identity), writes }
    }

    /// Whether a pass that starts now records gradients of it.
    pub(super) fn learns(&self) -> bool {
        // A view takes a gradient where its source does and gradients are recorded at all.
        self.leaves.iter().any(|leaf| leaf.requires_grad() && leaf.narrow(0, 0, 1).requires_grad())
    }
}

impl Version {
    /// Whether the weights are gone, or `now` tells that they have been written to.
    pub(super) fn is_outdated(&self, now: &[Self]) -> bool {
        let rewritten = |now: &Self| self.identity.ptr_eq(&now.identity) && self.writes != now.writes;
        self.identity.strong_count() == 0 || now.iter().any(rewritten)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.identity.ptr_eq(&other.identity) && self.writes == other.writes
    }
}

/// One parameter.
pub struct Param {
    /// Name and shape.
    pub spec: ParamSpec,
    /// The buffer that holds it.
    pub buffer: BufferKey,
    /// Its values, a view of the buffer. Gradients are at the leaf: [`ParamStore::grad`].
    pub tensor: Tensor,
    leaf: usize,
    first_row: i64,
}

/// One parameter, or several that are stacked.
struct Leaf {
    buffer: BufferKey,
    tensor: Tensor,
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
    pub(crate) fn frozen_copy(&self) -> Self {
        let specs: Vec<ParamSpec> = self.params.iter().map(|p| p.spec.clone()).collect();
        Self::over(self.buffers.iter().map(|(&key, buffer)| (key, buffer.copy())).collect(), &specs)
    }

    /// The same memory under another store.
    #[must_use]
    pub(crate) fn shared(&self) -> Self {
        let specs: Vec<ParamSpec> = self.params.iter().map(|p| p.spec.clone()).collect();
        Self::over(self.buffers.iter().map(|(&key, buffer)| (key, buffer.shallow_clone())).collect(), &specs)
    }

    fn over(buffers: BTreeMap<BufferKey, Tensor>, specs: &[ParamSpec]) -> Self {
        let mut offsets: BTreeMap<BufferKey, i64> = BTreeMap::new();
        let (mut params, mut leaves) = (Vec::new(), Vec::new());
        for stack in specs.chunk_by(|_, next| next.stacked) {
            let key = stack[0].buffer();
            let offset = offsets.entry(key).or_default();
            let numel = stack.iter().map(ParamSpec::numel).sum();
            let row = &stack[0].shape[1..];
            // `detach` makes the view a leaf of its own; it still shares the buffer's memory.
            let leaf =
                buffers[&key].narrow(0, *offset, numel).view([&[-1], row].concat().as_slice()).detach();
            *offset += numel;
            let mut first_row = 0;
            for spec in stack {
                let tensor = leaf.narrow(0, first_row, spec.shape[0]).detach();
                params.push(Param { spec: spec.clone(), buffer: key, tensor, leaf: leaves.len(), first_row });
                first_row += spec.shape[0];
            }
            leaves.push(Leaf { buffer: key, tensor: leaf });
        }
        Self { buffers, gradients: RefCell::default(), params, leaves, identity: Arc::new(()) }
    }

    /// Hands out the parameters to modules. Every network that is built from one store shares its memory.
    pub fn source(&self) -> Leaves<'_> {
        Leaves { store: self, next: 0 }
    }

    /// The flat buffers in a fixed order.
    pub fn buffers(&self) -> &BTreeMap<BufferKey, Tensor> {
        &self.buffers
    }

    /// The parameters in order of declaration, which is also their order within a buffer.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Sets which parts take gradients, and makes the memory for them: none have accumulated afterwards.
    pub fn set_trainable(&self, trainable: impl Fn(PartOfModel) -> bool) {
        let mut gradients = self.gradients.borrow_mut();
        // What no longer learns goes before new memory comes.
        gradients.retain(|key, _| trainable(key.part));
        for leaf in &self.leaves {
            set_grad(&leaf.tensor, None);
        }
        for (&key, buffer) in self.buffers.iter().filter(|(key, _)| trainable(key.part)) {
            let flat = gradients.entry(key).or_insert_with(|| buffer.zeros_like());
            let _ = flat.zero_();
        }
        let mut offsets: BTreeMap<BufferKey, i64> = BTreeMap::new();
        for leaf in &self.leaves {
            // The flag belongs to the tensor that all handles share, the modules' too.
            let _ = leaf.tensor.set_requires_grad(trainable(leaf.buffer.part));
            let offset = offsets.entry(leaf.buffer).or_default();
            let numel = leaf.tensor.numel() as i64;
            if let Some(flat) = gradients.get(&leaf.buffer) {
                let own = flat.narrow(0, *offset, numel).view(leaf.tensor.size().as_slice());
                set_grad(&leaf.tensor, Some(&own));
            }
            *offset += numel;
        }
    }

    /// A parameter as modules see it: computing with it gives its leaf a gradient.
    pub fn value(&self, param: &Param) -> Tensor {
        self.leaves[param.leaf].tensor.narrow(0, param.first_row, param.spec.shape[0])
    }

    /// The gradient of a parameter, in its shape, a view; undefined where it does not learn, 0 where it took no part.
    pub fn grad(&self, param: &Param) -> Tensor {
        let grad = self.leaves[param.leaf].tensor.grad();
        if grad.defined() { grad.narrow(0, param.first_row, param.spec.shape[0]) } else { grad }
    }

    /// The gradients of a buffer, flat, in its order: the memory in which they accumulate. None where it does not learn.
    pub fn flat_grad(&self, key: BufferKey) -> Option<Tensor> {
        self.gradients.borrow().get(&key).map(Tensor::shallow_clone)
    }

    /// Forgets all gradients that have accumulated.
    pub fn zero_grad(&mut self) {
        for flat in self.gradients.get_mut().values_mut() {
            no_grad(|| {
                let _ = flat.zero_();
            });
        }
    }

    /// Forgets all gradients, so that [`Self::unreached`] can tell afterwards which were never added to.
    pub fn expect_gradients(&self) {
        // -0 is the one number that adding 0 changes: -0 + 0 = +0. So a gradient that was 0 differs from none.
        for flat in self.gradients.borrow_mut().values_mut() {
            let _ = no_grad(|| flat.fill_(-0.0));
        }
    }

    /// The parameters that learn and that no backward pass since [`Self::expect_gradients`] has reached.
    pub fn unreached(&self) -> Vec<&ParamSpec> {
        let is_untouched = |grad: &Tensor| {
            let negative_zero = grad.eq(0.0).logical_and(&grad.signbit());
            negative_zero.all().int64_value(&[]) == 1
        };
        let learns = |param: &&Param| self.grad(param).defined();
        let unreached = self.params.iter().filter(learns).filter(|param| is_untouched(&self.grad(param)));
        unreached.map(|param| &param.spec).collect()
    }

    fn vision_memory(&self) -> VisionMemory {
        let is_vision = |key: &BufferKey| key.part != PartOfModel::Decoder;
        let buffers = self.buffers.iter().filter(|(key, _)| is_vision(key)).map(|(_, buffer)| buffer);
        let leaves = self.leaves.iter().filter(|leaf| is_vision(&leaf.buffer)).map(|leaf| &leaf.tensor);
        VisionMemory {
            identity: Arc::clone(&self.identity),
            buffers: buffers.map(Tensor::shallow_clone).collect(),
            leaves: leaves.map(Tensor::shallow_clone).collect(),
        }
    }

    /// Number of parameters.
    pub fn numel(&self) -> i64 {
        self.params.iter().map(|p| p.spec.numel()).sum()
    }
}

/// Hands out the leaves in order of declaration: modules are built by the same code that declared them.
pub struct Leaves<'a> {
    store: &'a ParamStore,
    next: usize,
}

impl ParamSource for Leaves<'_> {
    fn stacked(&mut self, parts: &[(String, i64)], row: &[i64]) -> Tensor {
        let leaf = self.next;
        let declared = self.store.params.iter().filter(|param| param.leaf == leaf).map(|param| &param.spec);
        let is_same = |spec: &ParamSpec, (name, rows): &(String, i64)| {
            spec.name == *name && spec.shape[0] == *rows && spec.shape[1..] == *row
        };
        assert!(
            declared.clone().count() == parts.len()
                && declared.zip(parts).all(|(spec, part)| is_same(spec, part)),
            "modules are built in the order they declare"
        );
        self.next += 1;
        self.store.leaves[leaf].tensor.shallow_clone()
    }

    fn vision_memory(&self) -> Option<Vec<VisionMemory>> {
        Some(if self.next > 0 { vec![self.store.vision_memory()] } else { Vec::new() })
    }
}

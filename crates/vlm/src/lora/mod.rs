//! LoRA (Hu et al. 2021, arXiv 2106.09685): `y = W x + scale B A dropout(x)`, where only `A` and `B` learn.
//!
//! Adapters are parameters of their own beside the checkpoint's, in fp32 whatever the checkpoint is in, as PEFT keeps
//! them. The network is built over both; built over the checkpoint's alone, it is the model with the adapter switched
//! off, which needs no memory of its own and serves as KL reference.

mod error;
mod peft;
mod targets;

use std::path::{Path, PathBuf};

use rand::Rng as _;
use reft_core::Seed;
use tch::{Device, Kind, Tensor};

pub use error::LoraError;
pub(crate) use peft::{base_of, is_adapter, load as load_params};
pub use targets::LoraTargets;

use crate::{
    VlmError,
    model::{
        Family, LinearSpec, LowRank, Network, Param, ParamSource, ParamSpec, ParamStore, VisionMemory,
        VlmConfig,
    },
};

/// What an adapter is.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings {
    /// Rank of the updates.
    pub rank: i64,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Probability that an input of `A` is left out in training.
    pub dropout: f64,
    /// The layers that get an adapter.
    pub targets: LoraTargets,
    /// Layers that get none although `targets` names them.
    pub exclude: Option<LoraTargets>,
    /// Scaled by `alpha / sqrt(rank)` instead (rank-stabilised LoRA, Kalajdzievski 2023, arXiv 2312.03732).
    pub rank_stabilized: bool,
}

impl Default for LoraSettings {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: LoraTargets::default(),
            exclude: None,
            rank_stabilized: false,
        }
    }
}

impl LoraSettings {
    /// The factor of the update.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// The layers of a model that get an adapter.
    fn modules(&self, config: &VlmConfig) -> Result<Vec<LinearSpec>, LoraError> {
        self.targets.select(self.exclude.as_ref(), Network::linears(config), config.family)
    }

    /// The parameters of the adapters on a model, in the network's order: `A` `[rank, input]`, `B` `[output, rank]`.
    pub(crate) fn specs(&self, config: &VlmConfig) -> Result<Vec<ParamSpec>, LoraError> {
        Ok(self.modules(config)?.iter().flat_map(|linear| specs_of(linear, self.rank)).collect())
    }
}

/// Where an adapter comes from.
#[derive(Clone, Debug)]
pub enum LoraOption {
    /// A new one, which changes nothing yet: `A` is random, `B` zero.
    New {
        /// What it is.
        settings: LoraSettings,
        /// Of the random numbers.
        seed: Seed,
    },
    /// A folder as PEFT writes it.
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Replaces the folder's dropout.
        dropout: Option<f64>,
        /// Of the dropout.
        seed: Seed,
    },
}

/// The adapter of a model.
pub struct Lora {
    settings: LoraSettings,
    modules: Vec<LinearSpec>,
    params: ParamStore,
    seed: Seed,
    family: Family,
}

impl Lora {
    /// Makes or reads the adapter of a model.
    pub(crate) fn open(option: &LoraOption, config: &VlmConfig, device: Device) -> Result<Self, VlmError> {
        match option {
            LoraOption::New { settings, seed } => {
                let adapter = Self::zeros(settings.clone(), *seed, config, device)?;
                adapter.randomize();
                Ok(adapter)
            }
            LoraOption::Folder { dir, dropout, seed } => {
                let mut settings = peft::read_settings(dir)?;
                settings.dropout = dropout.unwrap_or(settings.dropout);
                let adapter = Self::zeros(settings, *seed, config, device)?;
                adapter.load(dir)?;
                Ok(adapter)
            }
        }
    }

    fn zeros(
        settings: LoraSettings,
        seed: Seed,
        config: &VlmConfig,
        device: Device,
    ) -> Result<Self, LoraError> {
        let modules = settings.modules(config)?;
        let specs: Vec<_> = modules.iter().flat_map(|linear| specs_of(linear, settings.rank)).collect();
        let params = ParamStore::zeros(&specs, Kind::Float, device);
        Ok(Self { settings, modules, params, seed, family: config.family })
    }

    /// `A` uniform within `1 / sqrt(input)`, as PEFT and PyTorch's linear layers begin; `B` stays zero.
    fn randomize(&self) {
        let _no_grad = tch::no_grad_guard();
        for [a, _] in self.pairs() {
            let bound = 1.0 / (a.spec.shape[1] as f32).sqrt();
            let mut rng = self.seed.at("lora").at(a.spec.name.as_str()).rng();
            let values: Vec<f32> = (0..a.spec.numel()).map(|_| rng.random_range(-bound..bound)).collect();
            a.tensor.shallow_clone().copy_(&Tensor::from_slice(&values).view(a.spec.shape.as_slice()));
        }
    }

    /// What the adapter is.
    pub fn settings(&self) -> &LoraSettings {
        &self.settings
    }

    /// `A` and `B` of every layer.
    pub fn params(&self) -> &ParamStore {
        &self.params
    }

    pub(crate) fn params_mut(&mut self) -> &mut ParamStore {
        &mut self.params
    }

    /// Builds a network over a checkpoint's parameters and these adapters, `params` being those of [`Self::params`] or a
    /// copy; with dropout when a seed is given.
    pub(crate) fn network(
        &self,
        base: &ParamStore,
        params: &ParamStore,
        config: &VlmConfig,
        dropout: Option<Seed>,
    ) -> Network {
        let mut source = Adapted {
            base: &mut base.source(),
            adapter: &mut params.source(),
            rest: &self.modules,
            rank: self.settings.rank,
            scale: self.settings.scale(),
            dropout: dropout.map(|seed| (self.settings.dropout, seed)),
        };
        Network::new(&mut source, config)
    }

    /// The seed of the dropout of one pass; none without dropout.
    pub(crate) fn dropout_seed(&self, phase: &str, step: u64, pass: usize) -> Option<Seed> {
        (self.settings.dropout > 0.0).then(|| self.seed.at("dropout").at(phase).at(step).at(pass))
    }

    /// What the adapter adds to the checkpoint's matrix of this name, in fp32; none when it adds nothing.
    pub(crate) fn update_of(&self, weight: &str) -> Option<Tensor> {
        let module = weight.strip_suffix(".weight")?;
        let n = self.modules.iter().position(|linear| linear.name == module)?;
        let [a, b] = self.pairs().nth(n)?;
        let _no_grad = tch::no_grad_guard();
        Some(b.tensor.matmul(&a.tensor) * self.settings.scale())
    }

    /// Writes a folder that PEFT loads on `base`.
    pub(crate) fn save(&self, dir: &Path, base: &Path) -> Result<(), VlmError> {
        peft::save(dir, base, &self.settings, &self.params, self.family)
    }

    /// Fills the adapter from such a folder; its layers and rank must be this adapter's.
    pub(crate) fn load(&self, dir: &Path) -> Result<(), VlmError> {
        peft::load(dir, &self.params)
    }

    fn pairs(&self) -> impl Iterator<Item = &[Param; 2]> {
        self.params.params().as_chunks().0.iter()
    }
}

fn specs_of(linear: &LinearSpec, rank: i64) -> [ParamSpec; 2] {
    let LinearSpec { name, input, output } = linear;
    [("lora_A", [rank, *input]), ("lora_B", [*output, rank])].map(|(part, shape)| ParamSpec {
        name: format!("{name}.{part}.weight"),
        shape: shape.into(),
        stacked: false,
    })
}

/// Hands out a checkpoint's parameters, and the adapters of the layers that have one.
struct Adapted<'a> {
    base: &'a mut dyn ParamSource,
    adapter: &'a mut dyn ParamSource,
    /// The layers that still wait for their adapter, in the network's order.
    rest: &'a [LinearSpec],
    rank: i64,
    scale: f64,
    dropout: Option<(f64, Seed)>,
}

impl ParamSource for Adapted<'_> {
    fn stacked(&mut self, parts: &[(String, i64)], row: &[i64]) -> Tensor {
        self.base.stacked(parts, row)
    }

    fn low_rank(&mut self, module: &LinearSpec) -> Option<LowRank> {
        let (next, rest) = self.rest.split_first()?;
        if next != module {
            return None;
        }
        self.rest = rest;
        let [a, b] = specs_of(module, self.rank).map(|spec| self.adapter.param(spec.name, &spec.shape));
        let dropout = self.dropout.map(|(rate, seed)| (rate, seed.at(module.name.as_str())));
        Some(LowRank { a, b, scale: self.scale, dropout })
    }

    fn vision_memory(&self) -> Option<Vec<VisionMemory>> {
        let (mut memory, adapter) = (self.base.vision_memory()?, self.adapter.vision_memory()?);
        let drops = !adapter.is_empty() && self.dropout.is_some();
        memory.extend(adapter);
        (!drops).then_some(memory)
    }
}

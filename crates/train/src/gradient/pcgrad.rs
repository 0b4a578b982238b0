//! PCGrad: gradients of different tasks that point against each other are turned aside.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use reft_config::Between;
use reft_core::{Seed, StageError};
use reft_vlm::{Vlm, model::BufferKey};
use tch::{Kind, Tensor};

use super::GradientTransform;

/// The gradient of each part of a batch (a task, or a form of asking) loses what it has against those of the others, which
/// come in random order: `g_i - (g_i . g_j) / |g_j|^2 g_j` where `g_i . g_j < 0`; then they are added up (Yu et al. 2020,
/// arXiv 2001.06782, algorithm 1).
///
/// Keeps a copy of the gradients for each part of the batch during an update, and one more.
pub struct PcGrad {
    between: Between,
    seed: Seed,
    parts: Vec<Gradients>,
}

type Gradients = BTreeMap<BufferKey, Tensor>;

impl PcGrad {
    /// A transform between tasks or forms; `seed` decides the order of the others.
    pub fn new(between: Between, seed: Seed) -> Self {
        Self { between, seed, parts: Vec::new() }
    }
}

impl GradientTransform for PcGrad {
    fn name(&self) -> &'static str {
        "pcgrad"
    }

    fn apart(&self) -> Option<Between> {
        Some(self.between)
    }

    fn take_part(&mut self, policy: &Vlm) {
        let store = policy.learned();
        let gradients = store.buffers().keys().filter_map(|&key| Some((key, store.flat_grad(key)?.copy())));
        self.parts.push(gradients.collect());
    }

    fn forget(&mut self) {
        self.parts.clear();
    }

    fn transform(&mut self, policy: &Vlm, update: u64) -> Result<(), StageError> {
        let sum = combined(&self.parts, self.seed.at(update));
        for (key, gradient) in sum {
            if let Some(mut flat) = policy.learned().flat_grad(key) {
                flat.copy_(&gradient);
            }
        }
        self.parts.clear();
        Ok(())
    }
}

/// The sum of all parts, each without what it has against the others.
fn combined(parts: &[Gradients], seed: Seed) -> Gradients {
    let mut rng = seed.rng();
    let mut sum = Gradients::new();
    for (i, part) in parts.iter().enumerate() {
        let mut own: Gradients = part.iter().map(|(&key, gradient)| (key, gradient.copy())).collect();
        let mut others: Vec<&Gradients> =
            parts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other).collect();
        others.shuffle(&mut rng);
        for other in others {
            let against = dot(&own, other);
            if against < 0.0 {
                let factor = against / dot(other, other);
                for (key, gradient) in &mut own {
                    let _ = gradient.g_sub_(&(&other[key] * factor));
                }
            }
        }
        for (key, gradient) in own {
            match sum.get_mut(&key) {
                Some(sum) => drop(sum.g_add_(&gradient)),
                None => drop(sum.insert(key, gradient)),
            }
        }
    }
    sum
}

fn dot(a: &Gradients, b: &Gradients) -> f64 {
    let product = |(key, x): (&BufferKey, &Tensor)| {
        (x.to_kind(Kind::Float) * b[key].to_kind(Kind::Float)).sum(Kind::Double).double_value(&[])
    };
    a.iter().map(product).sum()
}

#[cfg(test)]
mod tests {
    use reft_vlm::model::PartOfModel;

    use super::*;

    fn gradients(values: [f32; 2]) -> Gradients {
        let key = BufferKey { part: PartOfModel::Decoder, decays: true };
        [(key, Tensor::from_slice(&values))].into()
    }

    /// (1, 0) and (-1, 1): each against the other by 1. The first becomes (1, 0) + (-1, 1) / 2 = (0.5, 0.5), the second
    /// (-1, 1) + (1, 0) = (0, 1). Gradients that agree are added.
    #[test]
    fn by_hand() {
        let of = |parts: &[[f32; 2]]| {
            let parts: Vec<Gradients> = parts.iter().map(|&values| gradients(values)).collect();
            let sum = combined(&parts, Seed::new(1)).into_values().next().unwrap();
            Vec::<f32>::try_from(sum).unwrap()
        };
        assert_eq!(of(&[[1.0, 0.0], [-1.0, 1.0]]), [0.5, 1.5]);
        assert_eq!(of(&[[1.0, 0.0], [1.0, 1.0]]), [2.0, 1.0]);
        assert_eq!(of(&[[3.0, -1.0]]), [3.0, -1.0]);
        // A part without a gradient turns nothing aside.
        assert_eq!(of(&[[1.0, 0.0], [0.0, 0.0]]), [1.0, 0.0]);
    }
}

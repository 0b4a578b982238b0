//! LIFT: only the weights that matter in a low-rank approximation move.

use std::collections::BTreeMap;

use reft_config::LiftConfig;
use reft_core::StageError;
use reft_vlm::{
    Vlm,
    model::{BufferKey, Param},
};
use tch::{Kind, Tensor};

use super::{GradientTransform, is_of_layers, learns_itself};

/// Of every matrix `W` of the decoder's layers the `share` of weights moves whose magnitude is largest in its best
/// approximation of rank `rank` (LIFT, arXiv 2506.00772): `W' = U_r S_r V_r^T`, and the largest `|W'|`. All other weights of
/// the model stay. The choice is made anew every `every` updates.
///
/// Needs an optimizer without weight decay, and keeps one byte for each weight that could learn.
pub struct Lift {
    config: LiftConfig,
    /// `[n]` whether a weight moves.
    masks: BTreeMap<BufferKey, Tensor>,
}

impl Lift {
    /// A transform that chooses at its first update.
    pub fn new(config: LiftConfig) -> Self {
        Self { config, masks: BTreeMap::new() }
    }

    fn choose(&mut self, policy: &Vlm) {
        let store = policy.learned();
        let mut offsets: BTreeMap<BufferKey, i64> = BTreeMap::new();
        for mask in self.masks.values_mut() {
            let _ = mask.fill_(0);
        }
        for param in store.params() {
            let offset = offsets.entry(param.buffer).or_default();
            let n = param.spec.numel();
            if let Some(mask) = self.masks.get(&param.buffer).filter(|_| is_matrix_of_layers(param)) {
                let chosen = principal(&param.tensor, self.config);
                let _ = mask.narrow(0, *offset, n).index_fill_(0, &chosen, 1);
            }
            *offset += n;
        }
    }
}

fn is_matrix_of_layers(param: &Param) -> bool {
    is_of_layers(&param.spec.name) && param.spec.shape.len() == 2
}

/// `[k]` indices of the weights of a matrix, row by row, that are largest in its approximation.
fn principal(weight: &Tensor, config: LiftConfig) -> Tensor {
    // The decomposition is made in fp32 on the CPU, whose driver needs no choice and no extra device memory.
    let weight_mn = weight.detach().to_kind(Kind::Float).to_device(tch::Device::Cpu);
    let most = weight_mn.size()[0].min(weight_mn.size()[1]);
    let rank = (config.rank as i64).min(most);
    let (u, s, vh) = weight_mn.svd(true, true);
    let low_rank_mn =
        (u.narrow(1, 0, rank) * s.narrow(0, 0, rank)).matmul(&vh.narrow(1, 0, rank).transpose(0, 1));
    let n = low_rank_mn.numel() as i64;
    let k = ((config.share * n as f64).round() as i64).clamp(1, n);
    let (_, chosen) = low_rank_mn.abs().flatten(0, -1).topk(k, 0, true, false);
    chosen.to_device(weight.device())
}

impl GradientTransform for Lift {
    fn name(&self) -> &'static str {
        "lift"
    }

    fn begin(&mut self, policy: &Vlm) -> Result<(), StageError> {
        learns_itself(policy, self.name())?;
        let store = policy.learned();
        let gradients = store.buffers().keys().filter_map(|&key| Some((key, store.flat_grad(key)?)));
        self.masks = gradients
            .map(|(key, flat)| (key, Tensor::zeros(flat.size(), (Kind::Bool, flat.device()))))
            .collect();
        Ok(())
    }

    fn transform(&mut self, policy: &Vlm, update: u64) -> Result<(), StageError> {
        if update == 0 || (self.config.every > 0 && update.is_multiple_of(self.config.every)) {
            self.choose(policy);
        }
        for (&key, mask) in &self.masks {
            if let Some(mut flat) = policy.learned().flat_grad(key) {
                let _ = flat.g_mul_(mask);
            }
        }
        Ok(())
    }

    fn moves(&self, key: BufferKey) -> Option<&Tensor> {
        self.masks.get(&key)
    }

    fn save(&self) -> Vec<(String, Tensor)> {
        self.masks
            .iter()
            .map(|(key, mask)| (format!("lift.{}", key.name()), mask.to_kind(Kind::Uint8)))
            .collect()
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), StageError> {
        for (key, mask) in &mut self.masks {
            let name = format!("lift.{}", key.name());
            let saved = state.get(&name).ok_or_else(|| StageError::State {
                stage: "gradient transform `lift`",
                message: format!("the checkpoint has no `{name}`; was `gradient` changed?"),
            })?;
            mask.copy_(&saved.to_kind(Kind::Bool));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of rank 1 with noise that is larger than some of it: the approximation of rank 1 has the largest values
    /// where the outer product has them, not where the single large number stands.
    #[test]
    fn what_matters_in_the_approximation() {
        let outer = Tensor::from_slice(&[4.0_f32, 2.0, 1.0, 8.0, 4.0, 2.0, 4.0, 2.0, 1.0]).view([3, 3]);
        let config = |share, rank| LiftConfig { share, rank, every: 0 };
        let chosen = |weight: &Tensor, config| {
            let mut indices: Vec<i64> = principal(weight, config).try_into().unwrap();
            indices.sort_unstable();
            indices
        };
        assert_eq!(chosen(&outer, config(1.0 / 9.0, 1)), [3]);
        assert_eq!(chosen(&outer, config(4.0 / 9.0, 1)), [0, 3, 4, 6]);
        let noisy =
            &outer + Tensor::from_slice(&[0.0_f32, 0.0, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).view([3, 3]);
        // As it stands, 3.5 is among the five largest; in the approximation of rank 1 it is not.
        assert_eq!(chosen(&noisy, config(4.0 / 9.0, 1)), [0, 3, 4, 6]);
        assert_eq!(chosen(&noisy, config(5.0 / 9.0, 3)), [0, 2, 3, 4, 6]);
    }
}

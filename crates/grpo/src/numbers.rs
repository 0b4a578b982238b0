//! Numbers of tokens as they are kept in files.

use tch::Tensor;

/// Numbers of each completion's tokens; those that are not finite are none.
pub type TokenNumbers = Vec<Vec<Option<f32>>>;

/// `[m]` values of each completion's tokens, from those of all tokens `[c]` and the completions' lengths.
pub(crate) fn by_completion(values_c: &Tensor, lengths: &[i64]) -> TokenNumbers {
    let finite = |x: f64| x.is_finite().then_some(x as f32);
    let completions = values_c.split_with_sizes(lengths, 0);
    completions
        .iter()
        .map(|values| values.iter::<f64>().into_iter().flatten().map(finite).collect())
        .collect()
}

/// `[c]` the tensor of such numbers; none is NaN.
pub(crate) fn flat(numbers: &TokenNumbers) -> Tensor {
    let flat: Vec<f32> = numbers.iter().flatten().map(|x| x.unwrap_or(f32::NAN)).collect();
    Tensor::from_slice(&flat)
}

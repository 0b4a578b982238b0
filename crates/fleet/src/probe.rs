//! An adapter that changes every answer, to see whether a server uses adapters at all: one that has learned nothing yet
//! changes none.

use std::{fs, io, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// The file of an adapter's weights, as PEFT writes it.
const WEIGHTS: &str = "adapter_model.safetensors";

/// Copies an adapter into `to`, with matrices B that are nowhere 0.
pub(crate) fn probe(adapter: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(adapter)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != WEIGHTS {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    let bytes = fs::read(adapter.join(WEIGHTS))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(io::Error::other)?;
    let mut changed: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tensor) in tensors.tensors() {
        let data = if name.contains("lora_B") { spread(&tensor)? } else { tensor.data().to_vec() };
        changed.push((name, tensor.dtype(), tensor.shape().to_vec(), data));
    }
    let views: Result<Vec<_>, _> = changed
        .iter()
        .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
        .collect();
    let views = views.map_err(|error: safetensors::SafeTensorError| io::Error::other(error))?;
    let bytes = safetensors::serialize(views, &None).map_err(io::Error::other)?;
    fs::write(to.join(WEIGHTS), bytes)
}

/// Numbers of a usual size, of both signs and of no pattern that a matrix could cancel.
fn spread(tensor: &TensorView<'_>) -> io::Result<Vec<u8>> {
    let n = tensor.shape().iter().product::<usize>();
    // Weyl's sequence of the golden ratio, between -0.05 and 0.05.
    let value = |i: usize| ((i as f64 * 0.618_033_988_749_895).fract() - 0.5) as f32 * 0.1;
    match tensor.dtype() {
        Dtype::F32 => Ok((0..n).flat_map(|i| value(i).to_le_bytes()).collect()),
        // The upper half of an fp32.
        Dtype::BF16 => Ok((0..n).flat_map(|i| ((value(i).to_bits() >> 16) as u16).to_le_bytes()).collect()),
        other => Err(io::Error::other(format!("an adapter of {other:?} cannot be probed"))),
    }
}

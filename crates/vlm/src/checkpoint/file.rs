//! One safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. Numbers are little-endian, as on every machine that
//! libtorch runs on, so bytes are copied as they are.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::{
    CheckpointError, kind,
    map::{Pieces, SizedFile},
};

/// The limit of the reference implementation; a larger number means that the file is something else.
const MAX_HEADER: u64 = 100_000_000;

/// What the header says about a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Name of the number type (`BF16`).
    pub dtype: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// First byte and the byte after the last, counted from the end of the header.
    data_offsets: [u64; 2],
}

/// An open safetensors file whose header was read and checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: SizedFile,
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads and checks the header.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let error = |message: String| CheckpointError::file(path, message);
        let broken = |what: &str| {
            error(format!("not a complete safetensors file ({what}); copy or download it again"))
        };
        let mut file = reft_core::open_regular(path).map_err(|e| error(e.to_string()))?;
        let size = file.metadata().map_err(|e| error(e.to_string()))?.len();

        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| broken("shorter than 8 bytes"))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length + 8 > size {
            return Err(broken(&format!("its header would take {length} bytes of {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(|e| error(e.to_string()))?;
        let mut header: BTreeMap<String, Value> =
            serde_json::from_slice(&header).map_err(|e| broken(&format!("header: {e}")))?;
        header.remove("__metadata__");

        let data_start = 8 + length;
        let mut tensors = BTreeMap::new();
        for (name, value) in header {
            let info: TensorInfo =
                serde_json::from_value(value).map_err(|e| broken(&format!("header of `{name}`: {e}")))?;
            info.check(&name, size - data_start).map_err(|e| broken(&e))?;
            tensors.insert(name, info);
        }
        let end = tensors.values().map(|info| info.data_offsets[1]).max().unwrap_or(0);
        if data_start + end != size {
            return Err(broken(&format!("{} bytes expected, {size} found", data_start + end)));
        }
        Ok(Self { path: path.to_owned(), file: SizedFile::new(file, size), data_start, tensors })
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one tensor, on the CPU and in the file's number type.
    pub fn read(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let (info, kind) = self.info(name)?;
        let tensor = Tensor::empty(info.shape.as_slice(), (kind, Device::Cpu));
        self.read_into(name, &tensor, |_| ())?;
        Ok(tensor)
    }

    /// Copies a tensor into one of as many elements, of any number type and on any device, without a second whole copy.
    /// `look` sees the parts of `target` as they are filled.
    pub(super) fn read_into(
        &self,
        name: &str,
        target: &Tensor,
        mut look: impl FnMut(&Tensor),
    ) -> Result<(), CheckpointError> {
        let error = |e: tch::TchError| self.error(name, e);
        let _no_grad = tch::no_grad_guard();
        let flat = target.f_view([-1]).map_err(error)?;
        let mut start = 0;
        for piece in self.pieces(name)? {
            let piece = piece?;
            let mut part = flat.f_narrow(0, start, piece.numel() as i64).map_err(error)?;
            part.f_copy_(&piece).map_err(error)?;
            look(&part);
            start += piece.numel() as i64;
        }
        Ok(())
    }

    /// The elements of a tensor, flat, a few million at a time.
    pub(super) fn pieces<'a>(
        &'a self,
        name: &'a str,
    ) -> Result<impl Iterator<Item = Result<Tensor, CheckpointError>> + 'a, CheckpointError> {
        let (info, kind) = self.info(name)?;
        let [start, end] = info.data_offsets;
        let pieces: Pieces<'_> =
            self.file.pieces(self.data_start + start, end - start, kind).map_err(|e| self.error(name, e))?;
        Ok(pieces.map(move |piece| piece.map_err(|e| self.error(name, e))))
    }

    fn info(&self, name: &str) -> Result<(&TensorInfo, Kind), CheckpointError> {
        let info = self.tensors.get(name).ok_or_else(|| self.error(name, "no such tensor"))?;
        let kind = kind::from_name(&info.dtype)
            .ok_or_else(|| self.error(name, format!("the type {} is not supported", info.dtype)))?;
        Ok((info, kind))
    }

    fn error(&self, name: &str, message: impl std::fmt::Display) -> CheckpointError {
        CheckpointError::file(&self.path, format!("`{name}`: {message}"))
    }
}

impl TensorInfo {
    /// Number of elements; a header may claim any shape for a type that is not read here.
    pub fn numel(&self) -> u64 {
        self.shape.iter().fold(1, |n: u64, &side| n.saturating_mul(u64::try_from(side).unwrap_or(0)))
    }

    /// Whether the byte range lies in the file and holds exactly the shape.
    fn check(&self, name: &str, available: u64) -> Result<(), String> {
        let [start, end] = self.data_offsets;
        if start > end || end > available {
            return Err(format!("`{name}` takes bytes {start} to {end} of {available}"));
        }
        let Some(kind) = kind::from_name(&self.dtype) else {
            return Ok(()); // reported as a wrong type by whoever asks for it
        };
        let numel = self
            .shape
            .iter()
            .try_fold(1_u64, |n, &side| n.checked_mul(u64::try_from(side).ok()?))
            .ok_or_else(|| format!("`{name}` has the impossible shape {:?}", self.shape))?;
        let expected = numel.checked_mul(kind.elt_size_in_bytes() as u64);
        if expected != Some(end - start) {
            return Err(format!(
                "`{name}` of shape {:?} in {} does not take {} bytes",
                self.shape,
                self.dtype,
                end - start
            ));
        }
        Ok(())
    }
}

/// Every tensor of a file, on the CPU, bit for bit.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let file = TensorFile::open(path)?;
    file.tensors.keys().map(|name| Ok((name.clone(), file.read(name)?))).collect()
}

/// Writes tensors bit for bit in their own number types, in the order given; the file appears only when it is complete.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), CheckpointError> {
    write_changed(path, tensors, None, &|_, tensor| tensor.shallow_clone())
}

/// Writes tensors, converted to `target` when given. Each goes through `change` when its turn comes, which keeps its
/// shape: so what is written need never be in memory as a whole.
pub(super) fn write_changed(
    path: &Path,
    tensors: &[(String, Tensor)],
    target: Option<Kind>,
    change: &dyn Fn(&str, &Tensor) -> Tensor,
) -> Result<(), CheckpointError> {
    let header = header(path, tensors, target)?;
    replace_file(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (name, tensor) in tensors {
            let kind = target.unwrap_or_else(|| tensor.kind());
            out.write_all(&bytes(&change(name, tensor), kind)?)?;
        }
        Ok(())
    })
}

fn header(
    path: &Path,
    tensors: &[(String, Tensor)],
    target: Option<Kind>,
) -> Result<Vec<u8>, CheckpointError> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
    let mut start = 0;
    for (name, tensor) in tensors {
        let kind = target.unwrap_or_else(|| tensor.kind());
        let dtype = kind::to_name(kind).ok_or_else(|| {
            CheckpointError::file(path, format!("`{name}` has the unsupported type {kind:?}"))
        })?;
        let end = start + (tensor.numel() * kind.elt_size_in_bytes()) as u64;
        let info = TensorInfo { dtype: dtype.into(), shape: tensor.size(), data_offsets: [start, end] };
        header.insert(name.clone(), serde_json::json!(info));
        start = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Data starts at a multiple of 8, as the format asks.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn bytes(tensor: &Tensor, kind: Kind) -> std::io::Result<Vec<u8>> {
    let torch = |e: tch::TchError| std::io::Error::other(e.to_string());
    let _no_grad = tch::no_grad_guard();
    let tensor = tensor
        .f_to_device(tch::Device::Cpu)
        .and_then(|t| t.f_to_kind(kind))
        .and_then(|t| t.f_contiguous())
        .map_err(torch)?;
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel()).map_err(torch)?;
    Ok(bytes)
}

/// Writes a file beside its place, syncs it, and moves it there; on an error the old file stays as it was.
pub(crate) fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), CheckpointError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let result = File::create(&temporary).and_then(|file| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)
    });
    result.map_err(|e| {
        // The half-written file would only take room; that it cannot be removed is not worth a second error.
        let _ = fs::remove_file(&temporary);
        CheckpointError::file(path, format!("cannot be written: {e}"))
    })
}

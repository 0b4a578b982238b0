//! Number types by their names in safetensors.

use tch::Kind;

const NAMES: [(&str, Kind); 10] = [
    ("F64", Kind::Double),
    ("F32", Kind::Float),
    ("BF16", Kind::BFloat16),
    ("F16", Kind::Half),
    ("I64", Kind::Int64),
    ("I32", Kind::Int),
    ("I16", Kind::Int16),
    ("I8", Kind::Int8),
    ("U8", Kind::Uint8),
    ("BOOL", Kind::Bool),
];

/// The type of a name; none for types that tch lacks (8-bit floats).
pub(crate) fn from_name(name: &str) -> Option<Kind> {
    NAMES.iter().find(|(n, _)| *n == name).map(|&(_, kind)| kind)
}

/// The name of a type; none for types that safetensors lacks (complex and quantised numbers).
pub(crate) fn to_name(kind: Kind) -> Option<&'static str> {
    NAMES.iter().find(|(_, k)| *k == kind).map(|&(name, _)| name)
}

/// Whether a checkpoint may hold weights in this type: each converts to each without a scale.
pub(crate) fn is_weight(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Float | Kind::BFloat16 | Kind::Half))
}

//! ms-swift's column `objects`: names and boxes that stand for the marks `<ref-object>` and `<bbox>` of a chat, in order.
//!
//! A box becomes `[x1, y1, x2, y2]`, as the Qwen2.5-VL models write it, in the frame that the column has: pixels of the
//! original image.

use super::Reader;
use crate::{
    DataError, Location,
    rows::{Field, Row},
};

const REFERENCE: &str = "<ref-object>";
const BOX: &str = "<bbox>";

/// What the marks of a row stand for.
pub(super) struct Objects<'a> {
    names: std::slice::Iter<'a, Field>,
    boxes: std::slice::Iter<'a, Field>,
}

impl<'a> Objects<'a> {
    /// Of a row; none when it has no such column.
    pub(super) fn of(
        reader: &Reader<'_>,
        row: &'a Row,
        location: Location,
    ) -> Result<Option<Self>, DataError> {
        let Some(field) = row.get("objects").filter(|field| !field.is_empty()) else { return Ok(None) };
        let Field::Struct(objects) = field else {
            return Err(reader.fail(location, "`objects` should be an object with `ref` and `bbox`"));
        };
        if let Some(kind) = objects.get("bbox_type").and_then(Field::text).filter(|kind| *kind != "real") {
            let message = format!("`bbox_type` of `objects` is `{kind}`; only `real` (pixels) is read");
            return Err(reader.fail(location, message));
        }
        let list = |name| objects.get(name).and_then(Field::list).unwrap_or_default().iter();
        Ok(Some(Self { names: list("ref"), boxes: list("bbox") }))
    }

    /// A text with names and boxes instead of its marks.
    pub(super) fn fill(
        &mut self,
        reader: &Reader<'_>,
        text: &str,
        location: Location,
    ) -> Result<String, DataError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, mark)) = [REFERENCE, BOX].iter().filter_map(|m| Some((rest.find(m)?, *m))).min() {
            filled.push_str(&rest[..at]);
            rest = &rest[at + mark.len()..];
            let missing = || reader.fail(location, format!("more {mark} than `objects` has"));
            if mark == REFERENCE {
                let name = self.names.next().and_then(Field::display).ok_or_else(missing)?;
                filled.push_str(&name);
            } else {
                filled.push_str(&bbox(self.boxes.next().ok_or_else(missing)?).ok_or_else(|| {
                    reader.fail(location, "a box of `objects` should be a list of four numbers")
                })?);
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Refuses what no mark asked for.
    pub(super) fn check_used(self, reader: &Reader<'_>, location: Location) -> Result<(), DataError> {
        if self.names.len() + self.boxes.len() == 0 {
            return Ok(());
        }
        Err(reader
            .fail(location, format!("`objects` has more than the text has marks {REFERENCE} and {BOX}")))
    }
}

fn bbox(field: &Field) -> Option<String> {
    let numbers = field.list()?;
    let is_number = |field: &Field| matches!(field, Field::Int(_) | Field::Float(_));
    let is_box = numbers.len() == 4 && numbers.iter().all(is_number);
    let texts: Option<Vec<String>> = numbers.iter().map(Field::display).collect();
    texts.filter(|_| is_box).map(|numbers| format!("[{}]", numbers.join(", ")))
}

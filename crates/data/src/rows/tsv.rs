//! Tab-separated values with a line of names, quoted as spreadsheets do. Every value is text; an empty one is none.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use reft_core::{open_regular, without_bom};

use super::{Field, Row, Rows};
use crate::{DataError, Location};

pub(super) fn open(path: &Path) -> Result<Rows, DataError> {
    let fail = |source| DataError::Io { action: "read", path: path.to_owned(), source };
    let mut input = BufReader::new(open_regular(path).map_err(fail)?);
    let start = input.fill_buf().map_err(fail)?;
    let mark = start.len() - without_bom(start).len();
    input.consume(mark);
    let mut records = Records {
        path: path.to_owned(),
        input,
        reader: ReaderBuilder::new().delimiter(b'\t').build(),
        text: vec![0; 4096],
        ends: vec![0; 64],
    };
    let names: Vec<Arc<str>> = match records.read()? {
        Some((_, names)) => names.into_iter().map(Arc::from).collect(),
        None => Vec::new(),
    };
    Ok(Box::new(std::iter::from_fn(move || {
        let (location, values) = match records.read() {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        if values.len() != names.len() {
            let message = format!("{} values for {} columns", values.len(), names.len());
            return Some(Err(records.fail(location, message)));
        }
        let fields =
            values.into_iter().map(|text| if text.is_empty() { Field::Null } else { Field::Text(text) });
        Some(Ok((location, Row(names.iter().cloned().zip(fields).collect()))))
    })))
}

/// The records of a file, one after another.
struct Records {
    path: PathBuf,
    input: BufReader<File>,
    reader: Reader,
    /// The text of a record without its marks, and where its values end.
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    /// The next record with the line that it starts in; none at the end.
    fn read(&mut self) -> Result<Option<(Location, Vec<String>)>, DataError> {
        let location = Location::Line(self.reader.line() as usize);
        let (mut text, mut ends) = (0, 0);
        loop {
            let input = self.input.fill_buf().map_err(|source| DataError::Io {
                action: "read",
                path: self.path.clone(),
                source,
            })?;
            let (result, read, wrote, ended) =
                self.reader.read_record(input, &mut self.text[text..], &mut self.ends[ends..]);
            self.input.consume(read);
            text += wrote;
            ends += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => break,
            }
        }
        let starts = std::iter::once(0).chain(self.ends[..ends].iter().copied());
        let values = starts.zip(&self.ends[..ends]).map(|(start, &end)| &self.text[start..end]);
        let values = values.map(|value| std::str::from_utf8(value).map(str::to_owned));
        match values.collect::<Result<Vec<String>, _>>() {
            Ok(values) => Ok(Some((location, values))),
            Err(error) => Err(self.fail(location, format!("is no UTF-8: {error}"))),
        }
    }

    fn fail(&self, location: Location, message: String) -> DataError {
        DataError::Row { path: self.path.clone(), location, message }
    }
}

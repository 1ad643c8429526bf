//! What pax records, and GNU's long names, say of the entry behind them.

use super::corrupt;
use crate::package::{Code, PackageError};

/// Of the next entry.
#[derive(Default)]
pub(super) struct Extras {
    pub path: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub sparse: bool,
}

impl Extras {
    pub fn any(&self) -> bool {
        self.path.is_some() || self.size.is_some() || self.sparse
    }

    /// An entry has one name; two are a trick on readers that take the other.
    pub fn set_path(&mut self, path: &[u8]) -> Result<(), PackageError> {
        match self.path.replace(path.to_vec()) {
            None => Ok(()),
            Some(_) => Err(corrupt("an entry has two long names")),
        }
    }
}

/// Reads the records of one entry. Times, owners and the like are left out.
pub(super) fn read(records: &[u8], extras: &mut Extras) -> Result<(), PackageError> {
    each(records, |key, value| {
        match key {
            b"path" => extras.set_path(value)?,
            b"size" if extras.size.is_some() => return Err(corrupt("an entry has two sizes")),
            b"size" => extras.size = Some(decimal(value)?),
            _ => extras.sparse |= key.starts_with(b"GNU.sparse."),
        }
        Ok(())
    })
}

/// Records for all entries behind them: git writes a comment. None may give all of them one name or size.
pub(super) fn check_global(records: &[u8]) -> Result<(), PackageError> {
    each(records, |key, _| {
        if matches!(key, b"path" | b"size" | b"linkpath") || key.starts_with(b"GNU.") {
            let message = "the archive sets the name, the size or the form of all its entries at once";
            return Err(PackageError::new(Code::Unsupported, message));
        }
        Ok(())
    })
}

/// Each record is `LENGTH KEY=VALUE\n`, its length the whole of it.
fn each(
    mut rest: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), PackageError>,
) -> Result<(), PackageError> {
    let wrong = || corrupt("a pax record is not `LENGTH KEY=VALUE`");
    while !rest.is_empty() {
        let space = rest.iter().take(10).position(|&byte| byte == b' ').ok_or_else(wrong)?;
        let length = usize::try_from(decimal(&rest[..space])?).map_err(|_| wrong())?;
        let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(wrong)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
        take(&record[..equals], &record[equals + 1..])?;
        rest = &rest[length..];
    }
    Ok(())
}

/// Digits and nothing else.
fn decimal(text: &[u8]) -> Result<u64, PackageError> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number
        .filter(|&number: &u64| number <= i64::MAX as u64)
        .ok_or_else(|| corrupt("a pax record has a wrong number"))
}

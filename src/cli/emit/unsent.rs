//! The file that keeps the failed lines of a batch, so that they can be sent again.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// A file of failed lines, as they were read.
pub(super) struct Unsent {
    path: PathBuf,
    /// Not buffered, so that failed lines are kept even if the process is killed.
    file: File,
    /// The length of the lines written whole, in bytes.
    length: u64,
}

impl Unsent {
    /// Creates the file before anything is sent, so that no failed line is lost because it cannot be
    /// created. An existing file is never touched: the name then gets a number.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(super) fn create(wanted: &Path) -> anyhow::Result<Self> {
        let (path, file) = create_free(wanted).with_context(|| {
            format!(
                "{} cannot be created; name another file for failed lines with --failed",
                wanted.display()
            )
        })?;
        Ok(Self {
            path,
            file,
            length: 0,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// The line cannot be written; the file then ends with the last whole line.
    pub(super) fn keep(&mut self, line: &str) -> anyhow::Result<()> {
        let text = format!("{line}\n");
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            self.file.set_len(self.length).ok();
            return Err(error).with_context(|| {
                format!(
                    "{} cannot be written, so nothing more is sent; make room",
                    self.path.display()
                )
            });
        }
        self.length += text.len() as u64;
        Ok(())
    }

    /// Returns the file's path, or removes the file if no line failed.
    pub(super) fn finish(self) -> Option<PathBuf> {
        if self.length == 0 {
            fs::remove_file(&self.path).ok();
            return None;
        }
        Some(self.path)
    }
}

fn create_free(wanted: &Path) -> io::Result<(PathBuf, File)> {
    let mut path = wanted.to_owned();
    for number in 2_u64.. {
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                path = numbered(wanted, number);
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("numbers do not run out")
}

/// `events.failed.ndjson` as `events.failed.2.ndjson`.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_before_the_extension() {
        for (path, expected) in [
            ("a/b.failed.ndjson", "a/b.failed.2.ndjson"),
            ("b", "b.2"),
            ("/x/.hidden", "/x/.hidden.2"),
        ] {
            assert_eq!(numbered(Path::new(path), 2), Path::new(expected));
        }
    }
}

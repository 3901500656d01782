//! Reads files that operators name: only regular ones of a bounded length, so that none of them blocks for
//! ever or fills memory.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use bytesize::ByteSize;
use rustix::fs::OFlags;

/// The longest file, in bytes, unless there is a reason for less: a longer one is probably named by mistake.
/// The CA bundle of a system has a quarter of a MiB.
pub const LONGEST: u64 = 4 << 20;
/// How long reading files may take: a disk that does not answer must not block anything else.
pub const READ_LIMIT: Duration = Duration::from_secs(5);

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// See [`open`]; or the file is longer, or reading fails.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len().min(limit);
    // With its full size at once, because growing would leave copies of a secret in memory.
    let mut bytes = Vec::with_capacity(length as usize + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("it has more than {}", ByteSize(limit));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Reads a text of at most `limit` bytes.
///
/// # Errors
/// See [`read`]; or the file is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Opens a regular file. A pipe, such as the shell's `<(…)`, cannot be read again, and opening or reading one
/// may block for ever.
///
/// # Errors
/// There is no file, it is not a regular one, or this user may not read it.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        let text = "it is a directory, not a file";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
    }
    if !kind.is_file() {
        let text = format!("it is {}, not a regular file", name(kind));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // If it has become a pipe since, opening it does not wait for a writer.
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
}

fn name(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_length_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let fails = |path: &Path| read(path, 10).unwrap_err().to_string();
        fs::write(at("ten"), "0123456789").unwrap();
        assert_eq!(read_text(&at("ten"), 10).unwrap(), "0123456789");
        std::os::unix::fs::symlink(at("ten"), at("link")).unwrap();
        assert_eq!(read_text(&at("link"), 10).unwrap(), "0123456789");
        fs::write(at("eleven"), "0123456789a").unwrap();
        assert_eq!(fails(&at("eleven")), "it has more than 10 B");
        fs::write(at("latin"), b"\xe4").unwrap();
        let error = read_text(&at("latin"), 10).unwrap_err();
        assert_eq!(error.to_string(), "it is not UTF-8");

        mknodat(
            CWD,
            at("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(fails(&at("pipe")), "it is a pipe, not a regular file");
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(fails(&at("socket")), "it is a socket, not a regular file");
        let device = fails(Path::new("/dev/zero"));
        assert_eq!(device, "it is a device, not a regular file");
        let directory = read(folder.path(), 10).unwrap_err();
        assert_eq!(directory.kind(), io::ErrorKind::IsADirectory);
        let missing = read(&at("missing"), 10).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

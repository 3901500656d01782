//! Unix sockets to listen on: the file of one, and who may connect.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::SocketAddr,
    },
    path::{Path, PathBuf},
};

use nix::unistd::Group;
use rustix::fs::{Access, access};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::UnixListener;

use crate::config::UnixSocket;

/// The file of a socket that this process listens on, removed when dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// The device and the inode of a file.
type Identity = (u64, u64);

/// What is at the path of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    Nothing,
    /// A socket that nothing listens on: its process ended without removing it.
    Leftover,
    /// A socket that a process listens on.
    Listener,
}

/// Why a socket cannot be listened on.
#[derive(Debug, Error)]
pub enum SocketError {
    #[error("internal.socket_group: this machine has no group {0:?}")]
    NoGroup(String),
    #[error("internal.socket_group: failed to look up the group {0:?}")]
    GroupLookup(String, #[source] io::Error),
    #[error("internal.socket_group: this user may not give the socket to the group {0:?}")]
    ForeignGroup(String, #[source] io::Error),
    #[error("internal.listen: {0} exists and is not a socket, so sockd leaves it alone")]
    NoSocket(String),
    #[error("internal.listen: a process is listening on {0} already")]
    InUse(String),
    #[error("internal.listen: the folder {0} does not exist")]
    NoFolder(String),
    #[error("internal.listen: {0} is not a folder")]
    NotAFolder(String),
    #[error("internal.listen: {0} is a link to nothing")]
    DanglingLink(String),
    #[error("internal.listen: {0} goes through too many links")]
    LinkLoop(String),
    #[error("internal.listen: this user may not create {path}")]
    Denied { path: String, folder: String },
    #[error(
        "internal.listen: {path} has {length} bytes, more than the path of a unix socket may have"
    )]
    TooLong { path: String, length: usize },
    #[error("internal.listen: failed to listen on {0}")]
    Other(String, #[source] io::Error),
}

impl SocketError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let remedy = match self {
            Self::NoGroup(_) => "create it with groupadd, or name another",
            Self::GroupLookup(..) => "name it by its number",
            Self::ForeignGroup(..) => {
                "add the user to it (in a systemd unit, set Group= to it), or name a group that it is in"
            }
            Self::NoSocket(_) | Self::NotAFolder(_) => "move it away, or choose another path",
            Self::DanglingLink(_) => "remove it, or choose another path",
            Self::InUse(_) => "end it, or choose another path",
            Self::NoFolder(_) => {
                "create it (RuntimeDirectory= in a systemd unit), or choose another path"
            }
            Self::Denied { folder, .. } => {
                return format!("let it write to the folder {folder}, or choose another path");
            }
            Self::TooLong { .. } => "choose a shorter one",
            Self::LinkLoop(_) | Self::Other(..) => "choose another path",
        };
        remedy.to_owned()
    }
}

/// Listens on the socket. Replaces the socket that a dead process has left, but nothing else.
///
/// # Errors
/// See [`SocketError`]; then nothing has changed.
pub fn listen(
    socket: &UnixSocket,
    backlog: i32,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let UnixSocket { path, mode, group } = socket;
    let other = |error| SocketError::Other(shown(path), error);
    let group = group.as_deref().map(find_group).transpose()?;
    match occupant(path)? {
        Occupant::Nothing => {}
        Occupant::Leftover => fs::remove_file(path).map_err(|error| of_folder(path, error))?,
        Occupant::Listener => return Err(SocketError::InUse(shown(path))),
    }
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(other)?;
    listener.set_nonblocking(true).map_err(other)?;
    let address = SockAddr::unix(path).map_err(other)?;
    listener
        .bind(&address)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SocketError::InUse(shown(path)),
            _ => of_folder(path, error),
        })?;
    let file = SocketFile::new(path).map_err(other)?;
    // Nobody can connect before the socket listens, whatever the umask allows.
    if let Some((name, id)) = group
        // If it has that group already, as with `Group=` in a systemd unit, the call may be forbidden.
        && fs::symlink_metadata(path).map_err(other)?.gid() != id
    {
        chown(path, None, Some(id)).map_err(|error| SocketError::ForeignGroup(name, error))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(*mode)).map_err(other)?;
    listener.listen(backlog).map_err(other)?;
    let listener = UnixListener::from_std(listener.into()).map_err(other)?;
    Ok((listener, file))
}

/// Checks what [`listen`] would find, without changing anything.
///
/// # Errors
/// What `listen` would fail with, as far as can be known.
pub fn examine(socket: &UnixSocket) -> Result<Occupant, SocketError> {
    let UnixSocket { path, group, .. } = socket;
    group.as_deref().map(find_group).transpose()?;
    let occupant = occupant(path)?;
    let folder = folder(path);
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| of_folder(path, error.into()))?;
    Ok(occupant)
}

fn occupant(path: &Path) -> Result<Occupant, SocketError> {
    if SocketAddr::from_pathname(path).is_err() {
        return Err(SocketError::TooLong {
            path: shown(path),
            length: path.as_os_str().as_bytes().len(),
        });
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(error) => return Err(of_folder(path, error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket(shown(path)));
    }
    // Without waiting for a listener whose backlog is full.
    let connected = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    match connected {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Occupant::Leftover),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nothing),
        // Also if this user may not connect, or the socket is of another type.
        Ok(()) | Err(_) => Ok(Occupant::Listener),
    }
}

/// The name of the group, and its number.
fn find_group(name: &str) -> Result<(String, u32), SocketError> {
    let owned = name.to_owned();
    match Group::from_name(name) {
        Ok(Some(group)) => Ok((owned, group.gid.as_raw())),
        Ok(None) => match name.parse() {
            Ok(id) => Ok((owned, id)),
            Err(_) => Err(SocketError::NoGroup(owned)),
        },
        Err(error) => Err(SocketError::GroupLookup(owned, error.into())),
    }
}

/// What an error means for the folder of the socket.
fn of_folder(path: &Path, error: io::Error) -> SocketError {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return SocketError::LinkLoop(shown(path));
    }
    let above = folder(path).ancestors();
    let folder = shown(folder(path));
    match error.kind() {
        // One of the folders in the path is missing, or is not a folder.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let mut found = above.filter(|at| at.symlink_metadata().is_ok());
            match found.next() {
                Some(at) if !at.exists() => SocketError::DanglingLink(shown(at)),
                Some(at) if !at.is_dir() => SocketError::NotAFolder(shown(at)),
                _ => SocketError::NoFolder(folder),
            }
        }
        io::ErrorKind::PermissionDenied => SocketError::Denied {
            path: shown(path),
            folder,
        },
        _ => SocketError::Other(shown(path), error),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use nix::unistd::getgid;
    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a folder for temporary files")
    }

    fn socket(path: PathBuf) -> UnixSocket {
        UnixSocket {
            path,
            mode: 0o600,
            group: None,
        }
    }

    fn refusal(socket: &UnixSocket) -> String {
        let text = |error: SocketError| format!("{error}; {}", error.remedy());
        let refused = text(listen(socket, 8).expect_err("it cannot be listened on"));
        assert_eq!(examine(socket).err().map(text), Some(refused.clone()));
        refused
    }

    #[tokio::test]
    async fn the_file_has_its_mode_and_group_and_is_removed_on_drop() {
        let folder = folder();
        let group = getgid().as_raw();
        let socket = UnixSocket {
            mode: 0o621,
            group: Some(group.to_string()),
            ..socket(folder.path().join("s"))
        };
        let (listener, file) = listen(&socket, 8).unwrap();
        let metadata = fs::symlink_metadata(&socket.path).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o621);
        assert_eq!(metadata.gid(), group);
        assert_eq!(examine(&socket).unwrap(), Occupant::Listener);
        assert!(matches!(listen(&socket, 8), Err(SocketError::InUse(_))));
        assert!(UnixStream::connect(&socket.path).is_ok());
        drop(file);
        assert!(!socket.path.exists());
        drop(listener);
    }

    #[tokio::test]
    async fn a_leftover_is_replaced_and_the_file_of_another_process_stays() {
        let folder = folder();
        let socket = socket(folder.path().join("s"));
        let (first, first_file) = listen(&socket, 8).unwrap();
        // As if the process were killed: the file stays.
        drop(first);
        assert_eq!(examine(&socket).unwrap(), Occupant::Leftover);
        let (_second, second_file) = listen(&socket, 8).unwrap();
        let is_other = first_file.identity != second_file.identity;
        drop(first_file);
        assert_eq!(socket.path.exists(), is_other);
    }

    #[tokio::test]
    async fn only_an_abandoned_socket_is_ever_removed() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "mine").unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
        for name in ["file", "folder", "link"] {
            let text = refusal(&socket(at(name)));
            assert!(text.contains("is not a socket"), "{text}");
            assert!(fs::symlink_metadata(at(name)).is_ok());
        }
        let _datagram = UnixDatagram::bind(at("datagram")).unwrap();
        let refused = listen(&socket(at("datagram")), 8).unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        assert!(at("datagram").exists());
    }

    #[tokio::test]
    async fn an_obstacle_is_named_with_the_remedy() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).unwrap();
        for (path, remedy) in [
            (at("none/s"), "none does not exist; create it"),
            (at("none/deeper/s"), "none/deeper does not exist; create it"),
            (at("file/s"), "file is not a folder; move it away"),
            (at("file/deeper/s"), "file is not a folder; move it away"),
            (at("dangling/s"), "dangling is a link to nothing; remove it"),
            (at("loop/s"), "too many links"),
            (at(&"x".repeat(120)), "choose a shorter one"),
        ] {
            let text = refusal(&socket(path));
            assert!(text.contains(remedy), "{text}");
        }
        let stranger = UnixSocket {
            group: Some("no-such-group".to_owned()),
            ..socket(at("s"))
        };
        let text = refusal(&stranger);
        assert!(text.contains("no group \"no-such-group\""), "{text}");
        assert!(!at("s").exists());
    }
}

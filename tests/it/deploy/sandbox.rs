//! What the systemd unit forbids, forbidden in the same way by the kernel.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Arc,
};

use crate::support::sockd::Sockd;

/// Starts sockd where `chown` is refused, as by `SystemCallFilter=~@privileged`.
const WITHOUT_CHOWN: &str = r#"
import ctypes, os, platform, struct, sys
calls = {"x86_64": [92, 93, 94, 260], "aarch64": [54, 55]}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
program = [(LOAD, 0, 0, 0)]
for call in calls:
    program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, EPERM)]
program.append((RETURN, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
filter = struct.pack("@HP", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
assert libc.prctl(22, 2, filter, 0, 0) == 0, "PR_SET_SECCOMP"
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// `Group=` of the unit gives the socket its group, so that nothing is left to change.
#[tokio::test]
async fn a_socket_that_already_has_its_group_needs_no_chown() {
    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let script = directory.path().join("without-chown.py");
    fs::write(&script, WITHOUT_CHOWN).expect("it is written");
    let sockd = directory.path().join("sockd");
    let text = format!(
        "#!/bin/sh\nexec python3 '{}' '{}' \"$@\"\n",
        script.display(),
        env!("CARGO_BIN_EXE_sockd")
    );
    fs::write(&sockd, text).expect("it is written");
    fs::set_permissions(&sockd, fs::Permissions::from_mode(0o755)).expect("it can be run");
    let group = nix::unistd::getgid().as_raw();
    let node = |group: u32| {
        Sockd::builder()
            .program(&sockd)
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("SOCKD_INTERNAL__LISTEN", "unix:internal.sock")
            .env("SOCKD_INTERNAL__SOCKET_GROUP", group.to_string())
    };
    let _running = node(group).start_in(directory.clone()).await;
    let socket = fs::symlink_metadata(directory.path().join("internal.sock")).expect("a socket");
    assert_eq!((socket.gid(), socket.mode() & 0o777), (group, 0o660));

    let (status, stderr) = node(group + 1).fails().await;
    assert!(!status.success());
    assert!(
        stderr.contains("internal.socket_group") && stderr.contains("Group="),
        "{stderr}"
    );
}

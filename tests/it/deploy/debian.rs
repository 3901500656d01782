//! The Debian package: built, installed, started, upgraded, removed and purged by dpkg, below a
//! directory of its own, so that the machine stays as it is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use tempfile::TempDir;

use crate::support::{PATIENCE, sockd::Sockd};

/// Where the package goes instead of `/`.
struct Machine {
    root: TempDir,
}

#[tokio::test]
async fn the_package_is_installed_upgraded_and_removed() {
    let built = tempfile::tempdir().expect("a temporary directory");
    let (first, second) = (package(&built, "0.0.1-1"), package(&built, "0.0.2-1"));
    let machine = Machine::new();

    machine.dpkg(&["--install", &first]);
    machine.has_what_an_operator_expects();
    let settings = machine.path("etc/sockd/sockd.toml");
    let text = fs::read_to_string(&settings).expect("a configuration");
    let changed = text.replacen("#port = 3000", "port = 0", 1);
    assert_ne!(text, changed, "the example has the port");
    fs::write(&settings, &changed).expect("it is written");
    machine.serves(&settings).await;

    machine.dpkg(&["--install", &second]);
    assert_eq!(machine.version(), "0.0.2-1");
    let kept = fs::read_to_string(&settings).expect("a configuration");
    assert_eq!(kept, changed, "an upgrade keeps what the operator changed");
    machine.serves(&settings).await;

    machine.dpkg(&["--remove", "sockd"]);
    assert!(!machine.path("usr/bin/sockd").exists());
    assert!(settings.exists(), "only a purge takes the configuration");
    machine.dpkg(&["--purge", "sockd"]);
    assert!(!settings.exists());
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let state = root.path().join("var/lib/dpkg");
        for directory in ["info", "updates", "triggers"] {
            fs::create_dir_all(state.join(directory)).expect("a directory");
        }
        fs::write(state.join("status"), "").expect("a file");
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Its scripts run without a chroot, in which nothing would be, and libc is that of the machine.
    fn dpkg(&self, arguments: &[&str]) {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--root").arg(self.root.path());
        dpkg.args([
            "--force-script-chrootless",
            "--force-not-root",
            "--force-depends",
        ]);
        dpkg.args(["--log=/dev/null", "--no-triggers"])
            .args(arguments);
        succeeds(dpkg.output().expect("dpkg starts"));
    }

    fn version(&self) -> String {
        let admin = self.path("var/lib/dpkg");
        let mut query = Command::new("dpkg-query");
        query.arg("--admindir").arg(admin);
        query.args(["--show", "--showformat=${Version}", "sockd"]);
        succeeds(query.output().expect("dpkg-query starts"))
    }

    fn has_what_an_operator_expects(&self) {
        for file in [
            "usr/bin/sockd",
            "usr/lib/systemd/system/sockd.service",
            "usr/lib/systemd/system/sockd.socket",
            "usr/share/man/man1/sockd.1.gz",
            "usr/share/man/man1/sockd-force-logout.1.gz",
            "usr/share/bash-completion/completions/sockd",
            "usr/share/doc/sockd/operating.md",
            "usr/share/doc/sockd/copyright",
        ] {
            assert!(self.path(file).is_file(), "{file} is missing");
        }
    }

    /// The installed program starts with the installed configuration, serves requests and drains.
    async fn serves(&self, settings: &Path) {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let builder = Sockd::builder()
            .without("PORT")
            .program(&self.path("usr/bin/sockd"))
            .env("SOCKD_CONFIG", settings.to_str().expect("UTF-8"));
        let mut sockd = builder.start_in(directory).await;
        sockd.is_ready(PATIENCE).await;
        assert_eq!(sockd.drain().await, Some(0));
    }
}

/// Builds the package as `deploy/debian/build` does, of the program under test instead of a release.
fn package(built: &TempDir, version: &str) -> String {
    let target = built.path().join("target");
    let release = target.join("release");
    let manual = release.join("man");
    fs::create_dir_all(&manual).expect("a directory");
    let program = env!("CARGO_BIN_EXE_sockd");
    fs::copy(program, release.join("sockd")).expect("the built binary");
    let mut man = Command::new(program);
    man.args(["man", "--directory"]).arg(&manual);
    succeeds(man.output().expect("the built binary starts"));
    let mut gzip = Command::new("gzip");
    gzip.args(["--best", "--no-name", "--force", "--recursive"])
        .arg(&manual);
    succeeds(gzip.output().expect("gzip starts"));
    let package = built.path().join(format!("{version}.deb"));
    let package = package.to_str().expect("UTF-8").to_owned();
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args([
        "deb",
        "--locked",
        "--offline",
        "--no-build",
        "--no-strip",
        "--fast",
    ]);
    build.args(["--deb-version", version, "--output", &package]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.env("CARGO_TARGET_DIR", &target);
    succeeds(build.output().expect("cargo starts"));
    package
}

/// Returns what it printed.
fn succeeds(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}; see what tests/run installs"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

//! Reads the configuration again, on SIGHUP and for `sockd reload`, and swaps what it can.

use std::sync::Arc;

use anyhow::anyhow;
use tokio::{signal::unix::Signal, sync::mpsc, task::spawn_blocking, time::timeout};

use super::systemd;
use crate::{
    config::{Loaded, Problem, Problems, Sources, load},
    file::READ_LIMIT,
    lifecycle::Lifecycle,
    metrics::{Counter, RELOADS},
    reload::{Current, ReloadError, ReloadRequest, Reloadable, is_reloaded},
    telemetry::{self, AUDIT},
    tls::{self, Certificates},
    wire::ReloadAnswer,
};

pub(super) struct Reloader {
    sources: Sources,
    /// The configuration that the server started with, for settings that need a restart.
    started: Loaded,
    /// The configuration in effect, for all other settings.
    latest: Loaded,
    current: Current,
    certificates: Vec<Arc<Certificates>>,
    requests: mpsc::Receiver<ReloadRequest>,
    hang_ups: Signal,
    lifecycle: Lifecycle,
    reloaded: Counter,
    refused: Counter,
}

impl Reloader {
    pub(super) fn new(
        sources: Sources,
        started: Loaded,
        current: Current,
        certificates: Vec<Arc<Certificates>>,
        requests: mpsc::Receiver<ReloadRequest>,
        hang_ups: Signal,
        lifecycle: &Lifecycle,
    ) -> Self {
        let counter = |result| RELOADS.with_label_values(&[result]);
        Self {
            sources,
            latest: started.clone(),
            started,
            current,
            certificates,
            requests,
            hang_ups,
            lifecycle: lifecycle.clone(),
            reloaded: counter("ok"),
            refused: counter("failed"),
        }
    }

    /// Reloads on each request, one at a time, until dropped.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.hang_ups.recv() => {
                    self.reload("SIGHUP").await.ok();
                }
                Some(request) = self.requests.recv() => {
                    let done = self.reload("sockd reload").await;
                    // The caller may have hung up.
                    request.send(done).ok();
                }
            }
        }
    }

    async fn reload(&mut self, by: &'static str) -> Result<ReloadAnswer, ReloadError> {
        if self.lifecycle.is_draining() {
            tracing::warn!(target: AUDIT, by, "ignored a reload, the node is draining");
            return Err(ReloadError::Draining);
        }
        systemd::reloading();
        let sources = self.sources.clone();
        let current = self.current.clone();
        let certificates = self.certificates.clone();
        let reading = spawn_blocking(move || {
            let (loaded, next) = read(&sources, &current)?;
            let files = certificates.iter().map(|certificates| certificates.read());
            let files: Result<Vec<_>, _> = files.collect();
            Ok((
                loaded,
                next,
                files.map_err(|error| mistakes(Problem::from(error).into()))?,
            ))
        });
        let read = match timeout(READ_LIMIT, reading).await {
            Ok(read) => read.unwrap_or_else(|panic| Err(mistake(panic))),
            Err(_) => Err(mistake(anyhow!(
                "the configuration was not read within {READ_LIMIT:?}; check the disks of its files, including those with secrets"
            ))),
        };
        let done = read.and_then(|(loaded, next, files)| self.apply(loaded, next, files));
        if !self.lifecycle.is_draining() {
            systemd::ready();
        }
        match &done {
            Ok(answer) => {
                let [changed, needs_restart] =
                    [&answer.changed, &answer.needs_restart].map(|keys| keys.join(","));
                tracing::info!(target: AUDIT, by, changed, needs_restart, "reloaded the configuration");
                self.reloaded.inc();
            }
            Err(ReloadError::Draining) => {}
            Err(ReloadError::Mistakes(mistakes)) => {
                for mistake in mistakes {
                    tracing::error!("{mistake}");
                }
                let mistakes = mistakes.len();
                tracing::error!(
                    target: AUDIT,
                    by,
                    mistakes,
                    "the new configuration has mistakes, keeping the old one"
                );
                self.refused.inc();
            }
        }
        done
    }

    /// Swaps what a reload applies. Only the filter of the log can still fail, and is replaced first.
    fn apply(
        &mut self,
        loaded: Loaded,
        next: Reloadable,
        files: Vec<tls::Loaded>,
    ) -> Result<ReloadAnswer, ReloadError> {
        telemetry::set_level(&loaded.config.log.level).map_err(mistake)?;
        for (certificates, files) in self.certificates.iter().zip(files) {
            certificates.replace(files);
        }
        if let Some(jwks) = next.verifier.jwks() {
            jwks.reload();
        }
        self.current.replace(next);
        let keys = |keys: Vec<&str>, reloaded| -> Vec<String> {
            let keys = keys.into_iter().filter(|key| is_reloaded(key) == reloaded);
            keys.map(str::to_owned).collect()
        };
        let answer = ReloadAnswer {
            ok: true,
            changed: keys(self.latest.changes(&loaded), true),
            needs_restart: keys(self.started.changes(&loaded), false),
            warnings: loaded.warnings.iter().map(Problem::to_string).collect(),
        };
        for warning in &answer.warnings {
            tracing::warn!("{warning}");
        }
        self.latest = loaded;
        Ok(answer)
    }
}

/// Reads all sources. Every mistake counts, even in a setting that needs a restart.
fn read(sources: &Sources, current: &Current) -> Result<(Loaded, Reloadable), ReloadError> {
    let loaded = load(sources).and_then(|settings| settings.resolve());
    let loaded = loaded.map_err(mistakes)?;
    let next = current.load().replaced(&loaded.config);
    let next = next.map_err(|error| mistakes(Problem::from(error).into()))?;
    Ok((loaded, next))
}

fn mistakes(problems: Problems) -> ReloadError {
    ReloadError::Mistakes(problems.iter().map(Problem::to_string).collect())
}

/// A mistake with its causes.
fn mistake(error: impl Into<anyhow::Error>) -> ReloadError {
    ReloadError::Mistakes(vec![format!("{:#}", error.into())])
}

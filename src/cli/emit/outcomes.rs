//! What became of the lines of a batch: counted, shown, and kept where they failed.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    batch::{Stop, StopReason},
    lines::{Line, Lost},
    unsent::Unsent,
};
use crate::cli::{
    failure::{Exit, Failure},
    output,
};

/// What became of a line.
pub(super) struct Outcome {
    pub(super) line: Line,
    pub(super) fate: Fate,
}

pub(super) enum Fate {
    Sent {
        is_offline: bool,
    },
    /// The user has no socket, and that was asked to be a failure.
    Offline,
    Failed {
        reason: String,
        /// The event may have been delivered all the same.
        is_uncertain: bool,
    },
    /// Not tried, since the batch was stopped before.
    Skipped,
}

impl Fate {
    /// For what was certainly not sent.
    pub(super) fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed {
            reason: reason.to_string(),
            is_uncertain: false,
        }
    }
}

/// Counts, shows and keeps what became of the lines.
pub(super) struct Outcomes {
    progress: ProgressBar,
    unsent: Unsent,
    stop: Arc<Stop>,
    count: Count,
    lost: Lost,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Count {
    sent: u64,
    /// Of those sent, the ones whose users had no socket.
    offline: u64,
    failed: u64,
    /// Of those failed, the ones that may have been delivered all the same.
    uncertain: u64,
    /// Of those failed, the ones that were not tried because the batch was stopped.
    skipped: u64,
}

impl Outcomes {
    pub(super) fn new(progress: ProgressBar, unsent: Unsent, stop: Arc<Stop>) -> Self {
        Self {
            progress,
            unsent,
            stop,
            count: Count::default(),
            lost: Lost::default(),
        }
    }

    /// The counts, the lines that failed and are not kept, and the file that holds those that are.
    pub(super) async fn run(
        mut self,
        mut outcomes: mpsc::Receiver<Outcome>,
    ) -> (Count, Lost, Option<PathBuf>) {
        while let Some(Outcome { line, fate }) = outcomes.recv().await {
            match fate {
                Fate::Sent { is_offline } => {
                    self.count.sent += 1;
                    self.count.offline += u64::from(is_offline);
                }
                Fate::Offline => {
                    self.count.offline += 1;
                    self.fail(&line, "the user has no socket");
                }
                Fate::Failed {
                    reason,
                    is_uncertain,
                } => {
                    self.count.uncertain += u64::from(is_uncertain);
                    self.fail(&line, &reason);
                }
                Fate::Skipped => {
                    self.count.skipped += 1;
                    self.keep(&line);
                }
            }
            let position = self.progress.position().max(line.end);
            self.progress.set_position(position);
            let Count { sent, failed, .. } = self.count;
            self.progress
                .set_message(format!("{sent} sent, {failed} failed"));
        }
        self.progress.finish_and_clear();
        (self.count, self.lost, self.unsent.finish())
    }

    fn fail(&mut self, line: &Line, reason: &str) {
        let number = line.number;
        self.progress
            .suspend(|| output::note(format_args!("line {number}: {reason}")));
        self.keep(line);
    }

    /// Where lines cannot be kept any more, nothing more is sent, and their numbers are.
    fn keep(&mut self, line: &Line) {
        self.count.failed += 1;
        if line.text.is_empty() {
            return;
        }
        if self.lost.is_empty() {
            match self.unsent.keep(&line.text) {
                Ok(()) => return,
                Err(error) => self.stop.because(Exit::Failed, format!("{error:#}")),
            }
        }
        self.lost.add(line.number);
    }
}

/// The result of a batch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    #[serde(flatten)]
    pub(super) count: Count,
    pub(super) failed_file: Option<&'a Path>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count {
            sent,
            offline,
            failed,
            ..
        } = self.count;
        write!(f, "sent {sent}, failed {failed}, offline {offline}")
    }
}

/// What the person is told and the shell gets, once all lines are dealt with.
///
/// # Errors
/// Any line failed, the batch was stopped, or its input could not be read.
pub(super) fn conclude(
    read: io::Result<()>,
    stopped: Option<StopReason>,
    summary: &Summary<'_>,
    lost: &Lost,
    require_online: bool,
) -> Result<(), Failure> {
    let Count {
        offline,
        failed,
        uncertain,
        skipped,
        ..
    } = summary.count;
    let mut kept = summary.failed_file.map_or_else(String::new, |path| {
        let path = path.display();
        format!("; the lines that failed are in {path}, send them again with --batch {path}")
    });
    if uncertain > 0 {
        kept += &format!(
            "; {uncertain} of them may have been delivered all the same, and would come twice"
        );
    }
    if !lost.is_empty() {
        kept += &format!("; kept in no file: {lost}");
    }
    if let Some(StopReason { exit, text }) = stopped {
        let error =
            anyhow!("{text}").context(format!("stopped, {} not tried{kept}", lines_were(skipped)));
        return Err(Failure::new(exit, error));
    }
    read.with_context(|| format!("the batch cannot be read to its end{kept}"))?;
    if failed == 0 {
        return Ok(());
    }
    let all_offline = require_online && failed == offline;
    let exit = if all_offline {
        Exit::Offline
    } else {
        Exit::Failed
    };
    let lines = if failed == 1 { "line" } else { "lines" };
    Err(Failure::new(exit, anyhow!("{failed} {lines} failed{kept}")))
}

fn lines_were(count: u64) -> String {
    match count {
        1 => "1 line was".to_owned(),
        _ => format!("{count} lines were"),
    }
}
